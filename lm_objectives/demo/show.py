"""Lines for the demo that show what an objective has learned, one function for each type of objective."""

from functools import singledispatch
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lm_objectives.demo.context import DemoContext
    from lm_objectives.objectives.base import Objective


@singledispatch
def show(objective: "Objective", context: "DemoContext") -> "Iterable[str]":
    """Lines that show an objective on a text: its loss and metrics, where no function is registered for its type.

    This module loads nothing else, so a file with an objective of your own can register the objective's lines:

        >>> from lm_objectives import CausalLM, show
        >>> class Reversed(CausalLM):
        ...     pass
        >>> @show.register(Reversed)
        ... def show_reversed(objective, context):
        ...     yield f"  {len(context.prompt)} tokens"

    Args:
        objective: in evaluation mode.
        context: the model, the text, and how to write about it.

    Raises:
        InputError: where nothing can be shown on this text; the demo prints the reason and goes on.
    """
    return context.measure(objective)
