"""The optimizers that a short name stands for on the command line."""

from collections.abc import Callable, Iterable

from torch.optim import SGD, Adam, AdamW, Optimizer

from lm_objectives.optimisation.adafactor import Adafactor
from lm_objectives.optimisation.muon import Muon

TESTED_OPTIMIZERS = (AdamW, Adam, SGD, Adafactor, Muon)
"""Those that the package is tested with. Any other of torch, and a class of the user's own, is taken as well."""

OptimizerFactory = Callable[[Iterable], Adafactor] | Callable[[Iterable], Muon] | Callable[[Iterable], Optimizer]
"""Parameters to an optimizer. Torch has an Adafactor and a Muon too: a short name is looked up from left to right."""
