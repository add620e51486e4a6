"""What moves the weights: parameters in groups by their role, optimizers, and a learning rate that changes."""

from lm_objectives.optimisation.adafactor import Adafactor
from lm_objectives.optimisation.choice import MakeOptimizer
from lm_objectives.optimisation.groups import parameter_groups
from lm_objectives.optimisation.muon import Muon
from lm_objectives.optimisation.schedule import Schedule

__all__ = ["Adafactor", "MakeOptimizer", "Muon", "Schedule", "parameter_groups"]
