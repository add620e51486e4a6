"""What moves the weights: parameters in groups by their role, optimizers, and a learning rate that changes."""

from lm_objectives.optimisation.adafactor import Adafactor
from lm_objectives.optimisation.choice import OptimizerFactory
from lm_objectives.optimisation.groups import parameter_groups
from lm_objectives.optimisation.muon import Muon
from lm_objectives.optimisation.schedule import LRSchedule

__all__ = ["Adafactor", "OptimizerFactory", "Muon", "LRSchedule", "parameter_groups"]
