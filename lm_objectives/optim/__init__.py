"""What moves the weights: parameters in groups by their role, optimizers, and a learning rate that changes."""

from collections.abc import Callable, Iterable

from torch.optim import SGD, Adam, AdamW, Optimizer

from lm_objectives.optim.adafactor import Adafactor
from lm_objectives.optim.lr_schedule import LRSchedule
from lm_objectives.optim.muon import Muon
from lm_objectives.optim.param_groups import parameter_groups

__all__ = ["Adafactor", "LRSchedule", "Muon", "OptimizerFactory", "parameter_groups"]


TESTED_OPTIMIZERS = (AdamW, Adam, SGD, Adafactor, Muon)
"""Those that the package is tested with. Any other of torch, and a class of the user's own, is taken as well."""


OptimizerFactory = Callable[[Iterable], Adafactor] | Callable[[Iterable], Muon] | Callable[[Iterable], Optimizer]
"""Parameters to an optimizer. Torch has an Adafactor and a Muon too: a short name is looked up from left to right."""
