"""When an objective takes part: the contract of a curriculum's pace."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from jaxtyping import Bool, Float
from torch import Tensor, nn

from lm_objectives.balancers.base import Balancer, StepStatistics, keep_precision
from lm_objectives.balancers.fixed import Fixed
from lm_objectives.errors import InputError
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
        raise InputError(
            f"a curriculum expects an order of {', '.join(names)}, found {', '.join(order) or 'nothing'}: "
            "name each objective once, the easiest first"
        )
    return [list(names).index(name) for name in order]


class Curriculum(Balancer):
    """A pace decides who is in and with what factor; an inner balancer weighs those.

        w_i(step) = factor_i(step) · inner_i(step)

    An objective of factor 0 is out: it has no rows, and its share of them goes to the others. The product is not
    renormalised, so that a factor of one half halves the weight. `active` is exact for any step under a pace that is a
    function of the step alone (`Stages`, `Competence`); under `ByDifficulty` it is what is known now. Gradients,
    deferral and layer are the inner balancer's.

    Bengio et al., "Curriculum Learning", ICML 2009.

    Args:
        pace: when each objective takes part.
        inner: what weighs those who take part; `Fixed`, 1 for each, where none is given.
    """

    initial_losses: Tensor

    def __init__(self, pace: PacingFunction, inner: Balancer | None = None) -> None:
        super().__init__()
        self.pace = pace
        self.inner = Fixed() if inner is None else inner
        self.needs = self.inner.needs  # a wrapper's needs are its instance's
        self.deferred = self.inner.deferred
        self.layer: int = getattr(self.inner, "layer", -1)

    def setup(self, names: Sequence[str], initial_losses: Float[Tensor, " objectives"], steps: int) -> None:
        super().setup(names, initial_losses, steps)
        self.pace.setup(names, initial_losses, steps)
        self.inner.setup(names, initial_losses, steps)
        for step in self.pace.change_steps():
            if not bool(self.active(step).any()):
                raise InputError(
                    f"Curriculum expects an objective that takes part at every step, found none at step {step}: let "
                    "one in from the start, and another before it leaves"
                )

    def weights(self, step: int) -> Float[Tensor, " objectives"]:
        return self._factors(step) * self.inner.weights(step)

    def update(self, totals: StepStatistics) -> Float[Tensor, " objectives"] | None:
        factors = self._factors(totals.step)
        weights = self.inner.update(totals)
        self.pace.update(totals)
        return None if weights is None else factors * weights

    def active(self, step: int) -> Bool[Tensor, " objectives"]:
        return (self._factors(step).cpu() > 0) & self.inner.active(step).cpu()

    def _factors(self, step: int) -> Float[Tensor, " objectives"]:
        return self.pace.factors(step).to(self.initial_losses)
