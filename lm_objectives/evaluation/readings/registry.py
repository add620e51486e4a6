"""Which ways of reading a text an objective's head has, one function for each type of objective."""

from functools import singledispatch
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lm_objectives.evaluation.readings.base import Reading
    from lm_objectives.objectives.base import Objective


@singledispatch
def readings_of(objective: "Objective") -> "dict[str, Reading]":
    """The readings of an objective by name: none, where no function is registered for its type.

    This module loads nothing else, so a file with an objective of your own can register the objective's readings:

        >>> from lm_objectives import CausalLM, readings_of
        >>> class Renamed(CausalLM):
        ...     pass
        >>> @readings_of.register(Renamed)
        ... def readings_of_renamed(objective):
        ...     from lm_objectives.evaluation.readings.causal_lm import CausalReading
        ...     return {"renamed": CausalReading(objective)}
        >>> list(readings_of(Renamed()))
        ['renamed']

    Args:
        objective: a trained one.
    """
    del objective
    return {}
