"""Lightning callbacks; `GradientConflict` is for configurations, the command line adds the others itself."""

from lm_objectives.callbacks.gradient_conflict import GradientConflict

__all__ = ["GradientConflict"]
