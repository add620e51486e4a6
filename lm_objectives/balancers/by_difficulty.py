"""A curriculum that waits until the easier objectives are learned."""

import math

import torch
from torch import Tensor

from lm_objectives.balancers.base import PerObjective, StepStatistics
from lm_objectives.balancers.curriculum import PacingFunction
from lm_objectives.ranges import is_within


class ByDifficulty(PacingFunction):
    """An objective comes in once each one before it in the order is learned, and stays in.

    With m the exponential average of an objective's losses over the steps that trained it, corrected for its start
    at 0, the objective is learned for good once

        m <= target_loss                                                     where it has one, or
        m(window steps ago) - m < plateau_tolerance · |m(window steps ago)|  looked at every `window` steps.

        >>> import torch
        >>> from lm_objectives import ByDifficulty, StepStatistics
        >>> pace = ByDifficulty(["causal", "order"], target_loss={"causal": 5.0}, smoothing=0.0)
        >>> pace.setup(["causal", "order"], torch.tensor([8.0, 0.7]), steps=100)
        >>> pace.factors(0)
        tensor([1., 0.])
        >>> pace.update(StepStatistics(0, torch.tensor([4.9, 0.0]), torch.tensor([True, False])))
        >>> pace.factors(1)
        tensor([1., 1.])

    Args:
        order: the objectives' names, the easiest first.
        target_loss: by objective, the smoothed loss in nats that counts as learned; any objective may go without.
        plateau_tolerance: relative fall of the smoothed loss over a window below which it counts as flat, at least 0; 0
            waits until the smoothed loss rises.
        window: steps between two looks at the smoothed loss, at least 1.
        smoothing: weight of the past in the exponential average, from 0 (none) to below 1.
    """

    easier: Tensor
    target: Tensor
    smoothed: Tensor
    count: Tensor
    previous_mean: Tensor
    learned: Tensor

    def __init__(
        self,
        order: list[str],
        target_loss: dict[str, float] | None = None,
        plateau_tolerance: float = 0.01,
        window: int = 100,
        smoothing: float = 0.98,
    ) -> None:
        super().__init__()
        self.expect(is_within(plateau_tolerance, 0), "a plateau_tolerance of at least 0", plateau_tolerance, "try 0.01")
        self.expect(window >= 1, "a window of at least 1 step", window, "try 100")
        self.expect(0 <= smoothing < 1, "a smoothing from 0 to below 1", smoothing, "try 0.98")
        self.order = order
        self.target_loss = target_loss or {}
        self.plateau_tolerance = plateau_tolerance
        self.window = window
        self.smoothing = smoothing

    def initial_state(self, losses: PerObjective) -> dict[str, Tensor]:
        self.check_known(self.target_loss, "targets")
        for name, target in self.target_loss.items():
            self.expect(is_within(target), "targets in nats", f"{target} for {name}", "try 3.0")
        targets = [self.target_loss.get(name, -math.inf) for name in self.names]
        rank = torch.tensor(self.difficulty_ranks(self.order))
        self.register_buffer("easier", rank < rank[:, None], persistent=False)  # than the objective of the row
        self.register_buffer("target", torch.tensor(targets).to(losses), persistent=False)
        return {
            "smoothed": torch.zeros_like(losses),  # before the correction
            "count": torch.zeros_like(losses),
            "previous_mean": torch.full_like(losses, math.inf),  # at the last look
            "learned": torch.zeros_like(losses, dtype=torch.bool),
        }

    def factors(self, step: int) -> PerObjective:
        return (self.learned | ~self.easier).all(1).to(self.smoothed)

    def update(self, statistics: StepStatistics) -> None:
        self.smoothed = torch.lerp(statistics.losses, self.smoothed, self.smoothing)
        self.count = self.count + 1
        mean = self.smoothed / (1 - self.smoothing**self.count)
        look = self.count % self.window == 0
        fell = self.previous_mean - mean  # infinite at the first look
        flat = look & self.previous_mean.isfinite() & (fell < self.plateau_tolerance * self.previous_mean.abs())
        self.learned = self.learned | flat | (mean <= self.target)
        self.previous_mean = torch.where(look, mean, self.previous_mean)
