"""Optimizers, parameter groups by role, and the learning rate schedule."""

from collections.abc import Callable, Iterable

from torch.optim import SGD, Adam, AdamW, Optimizer

from lm_objectives.optim.adafactor import Adafactor
from lm_objectives.optim.lr_schedule import LRSchedule
from lm_objectives.optim.muon import Muon
from lm_objectives.optim.param_groups import parameter_groups

__all__ = ["Adafactor", "LRSchedule", "Muon", "OptimizerFactory", "parameter_groups"]

TESTED_OPTIMIZERS = (AdamW, Adam, SGD, Adafactor, Muon)
"""Optimizers that the package is tested with. Any other of torch, or a class of the user's own, can be set as well."""


OptimizerFactory = Callable[[Iterable], Adafactor] | Callable[[Iterable], Muon] | Callable[[Iterable], Optimizer]
"""Makes an optimizer from parameters. Ours stand first, since torch has an Adafactor and a Muon too: the command line
looks a short name up from left to right."""
