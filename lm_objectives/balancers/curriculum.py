"""Curriculum: objectives take part at the steps that a pacing function gives."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence

from jaxtyping import Bool
from torch import Tensor

from lm_objectives.balancers.base import Balancer, ObjectiveState, PerObjective, StepStatistics
from lm_objectives.balancers.fixed import Fixed


class PacingFunction(ObjectiveState):
    """Decides for each objective and step a factor on its weight; 0 keeps the objective out, rows included."""

    @abstractmethod
    def factors(self, step: int) -> PerObjective:
        """Each objective's factor at optimizer step `step`, at least 0, without side effects.

        A pacing function without state answers for any step; one with state answers what its state says now.
        """

    def change_steps(self) -> Sequence[int]:
        """Steps known now at which those who take part may change, 0 among them."""
        return (0,)

    def restart(self, steps: int) -> None:
        self.setup(self.names, self.initial_losses, steps)

    def check_known(self, found: Iterable[str], what: str) -> None:
        """Refuse settings of objectives that do not exist."""
        unknown = ", ".join(name for name in found if name not in self.names)
        self.expect(not unknown, f"{what} for objectives among {', '.join(self.names)}", unknown, "correct the name")

    def difficulty_ranks(self, order: Sequence[str]) -> list[int]:
        """Each objective's rank in an order by difficulty, 0 for the easiest."""
        found, mend = ", ".join(order) or "nothing", "name each objective once, the easiest first"
        self.expect(sorted(order) == sorted(self.names), f"an order of {', '.join(self.names)}", found, mend)
        return [order.index(name) for name in self.names]


class Curriculum(Balancer):
    """A pacing function decides who is in and with what factor; an inner balancer weighs those.

        w_i(step) = factor_i(step) · inner_i(step)

    An objective of factor 0 is out: it has no rows, and its share of them goes to the others. The product is not
    renormalised, so that a factor of one half halves the weight. `active` is exact for any step under a pacing function
    of the step alone (`Stages`, `Competence`); under `ByDifficulty` it is what is known now. Gradients, deferral and
    layer are the inner balancer's.

        >>> import torch
        >>> from lm_objectives import Curriculum, Fixed, Stages
        >>> balancer = Curriculum(Stages({"order": [[10, 0.0], [20, 1.0]]}), Fixed({"causal": 1.0, "order": 0.5}))
        >>> balancer.setup(["causal", "order"], torch.tensor([8.0, 0.7]), steps=100)
        >>> balancer.weights(0), balancer.weights(15)
        (tensor([1., 0.]), tensor([1.0000, 0.2500]))

    Bengio et al., "Curriculum Learning", ICML 2009.

    Args:
        pace: when each objective takes part.
        inner: what weighs those who take part; `Fixed`, 1 for each, where none is given.
    """

    def __init__(self, pace: PacingFunction, inner: Balancer | None = None) -> None:
        super().__init__()
        self.pace = pace
        self.inner = Fixed() if inner is None else inner
        self.needs = self.inner.needs  # a wrapper's needs are its instance's
        self.deferred = self.inner.deferred
        self.layer = self.inner.layer

    def initial_state(self, losses: PerObjective) -> dict[str, Tensor]:
        for part in (self.pace, self.inner):
            part.setup(self.names, losses, self.steps)
        self._check_active()
        return {}

    def restart(self, steps: int) -> None:
        super().restart(steps)
        for part in (self.pace, self.inner):
            part.restart(steps)
        self._check_active()

    def _check_active(self) -> None:
        """Raise where nobody takes part at some step."""
        for step in self.pace.change_steps():
            found, mend = f"none at step {step}", "let one in from the start, and another before it leaves"
            anyone = bool(self.active(step).any())
            self.expect(anyone, "an objective that takes part at every step", found, mend)

    def weights(self, step: int) -> PerObjective:
        return self._factors(step) * self.inner.weights(step)

    def update(self, statistics: StepStatistics) -> PerObjective | None:
        factors = self._factors(statistics.step)
        weights = self.inner.update(statistics)
        self.pace.update(statistics)
        return None if weights is None else factors * weights

    def active(self, step: int) -> Bool[Tensor, " objectives"]:
        return (self._factors(step).cpu() > 0) & self.inner.active(step).cpu()

    @property
    def knows_activity(self) -> bool:
        return not self.pace.keeps_state and self.inner.knows_activity

    def _factors(self, step: int) -> PerObjective:
        return self.pace.factors(step).to(self.initial_losses)
