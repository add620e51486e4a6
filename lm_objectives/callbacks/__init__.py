"""Lightning callbacks; two are for configurations and Python, the command line adds the others itself."""

from lm_objectives.callbacks.gradient_conflict import GradientConflict
from lm_objectives.callbacks.initial_weights import InitialWeights

__all__ = ["GradientConflict", "InitialWeights"]
