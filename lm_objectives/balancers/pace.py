"""When an objective takes part: the contract of a curriculum's pace."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor, nn

from lm_objectives.balancers.base import StepStatistics, keep_precision
from lm_objectives.plugin import Plugin


class PacingFunction(Plugin, nn.Module, ABC):
    """Decides for each objective and step a factor on its weight; 0 keeps the objective out, rows included."""

    def setup(self, names: Sequence[str], initial_losses: Float[Tensor, " objectives"], steps: int) -> None:
        """Learn whom to pace, as a balancer does: see `Balancer.build`."""
        del initial_losses
        self.names = tuple(names)
        self.steps = steps

    @abstractmethod
    def factors(self, step: int) -> Float[Tensor, " objectives"]:
        """Each objective's factor at optimizer step `step`, at least 0, without side effects.

        A pace without state answers for any step; one with state answers what its state says now.
        """

    def change_steps(self) -> Sequence[int]:
        """Steps known now at which those who take part may change, 0 among them."""
        return (0,)

    def update(self, totals: StepStatistics) -> None:
        """Learn from a step that is over."""
        del totals

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "PacingFunction":
        """State keeps at least single precision when the model is cast to half, as a balancer's does."""
        before = dict(self.named_buffers(recurse=False))
        super()._apply(fn, recurse)
        keep_precision(self, before)
        return self


def difficulty_order(order: Sequence[str], names: Sequence[str]) -> list[int]:
    """Indices of the objectives from the easiest to the hardest."""
    if sorted(order) != sorted(names):
        raise ValueError(
            f"a curriculum expects an order of {', '.join(names)}, found {', '.join(order) or 'nothing'}: "
            "name each objective once, the easiest first"
        )
    return [list(names).index(name) for name in order]
