"""Who takes part when; another balancer weighs those who do."""

from collections.abc import Sequence

from jaxtyping import Bool, Float
from torch import Tensor

from lm_objectives.balancers.base import Balancer, StepStatistics
from lm_objectives.balancers.fixed import Fixed
from lm_objectives.balancers.pace import PacingFunction


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
                raise ValueError(
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
