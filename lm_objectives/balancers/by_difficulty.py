"""A curriculum that waits until the easier objectives are learned."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lm_objectives.balancers.base import StepStatistics
from lm_objectives.balancers.curriculum import PacingFunction, difficulty_order
from lm_objectives.errors import InputError


class ByDifficulty(PacingFunction):
    """An objective comes in once each one before it in the order is learned, and stays in.

    With m the exponential average of an objective's losses over the steps it was present in, corrected for its start
    at 0, the objective is learned for good once

        m <= target                                        where it has a target, or
        m(window steps ago) - m < flat · |m(window steps ago)|      looked at every `window` steps.

    Args:
        order: the objectives' names, the easiest first.
        target: by objective, the smoothed loss in nats that counts as learned; any objective may go without.
        flat: relative fall of the smoothed loss over a window below which it counts as flat, at least 0; 0 waits until
            the smoothed loss rises.
        window: steps between two looks at the smoothed loss, at least 1.
        smoothing: weight of the past in the exponential average, from 0 (none) to below 1.
    """

    ranking: Tensor
    threshold: Tensor
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
        if not 0 <= plateau_tolerance < math.inf:
            raise InputError(f"ByDifficulty expects flat to be at least 0, found {plateau_tolerance}: try 0.01")
        if window < 1:
            raise InputError(f"ByDifficulty expects a window of at least 1 step, found {window}: try 100")
        if not 0 <= smoothing < 1:
            raise InputError(f"ByDifficulty expects a smoothing from 0 to below 1, found {smoothing}: try 0.98")
        self.order = order
        self.target_loss = target_loss or {}
        self.plateau_tolerance = plateau_tolerance
        self.window = window
        self.smoothing = smoothing

    def setup(self, names: Sequence[str], initial_losses: Float[Tensor, " objectives"], steps: int) -> None:
        super().setup(names, initial_losses, steps)
        unknown = [name for name in self.target_loss if name not in names]
        if unknown:
            raise InputError(
                f"ByDifficulty expects targets for objectives among {', '.join(names)}, found {', '.join(unknown)}: "
                "correct the name"
            )
        goals = [self.target_loss.get(name, -math.inf) for name in names]
        self.register_buffer("ranking", torch.tensor(difficulty_order(self.order, names)), persistent=False)
        self.register_buffer("threshold", torch.tensor(goals).to(initial_losses), persistent=False)
        self.register_buffer("smoothed", torch.zeros_like(initial_losses))  # before the correction
        self.register_buffer("count", torch.zeros_like(initial_losses))
        self.register_buffer(
            "previous_mean", torch.full_like(initial_losses, math.inf)
        )  # smoothed loss at the last look
        self.register_buffer("learned", torch.zeros_like(initial_losses, dtype=torch.bool))

    def factors(self, step: int) -> Float[Tensor, " objectives"]:
        del step
        passed = self.learned[self.ranking].to(self.smoothed).cumprod(0)
        easier = torch.cat([torch.ones_like(passed[:1]), passed[:-1]])
        return torch.empty_like(easier).index_copy(0, self.ranking, easier)

    def update(self, totals: StepStatistics) -> None:
        here = totals.trained
        losses = totals.losses.to(self.smoothed)
        self.smoothed = torch.where(here, torch.lerp(losses, self.smoothed, self.smoothing), self.smoothed)
        self.count = self.count + here
        mean = self.smoothed / (1 - self.smoothing**self.count)
        look = here & (self.count % self.window == 0)
        fell = self.previous_mean - mean  # infinite at the first look
        flattened = look & self.previous_mean.isfinite() & (fell < self.plateau_tolerance * self.previous_mean.abs())
        self.learned = self.learned | flattened | (here & (mean <= self.threshold))
        self.previous_mean = torch.where(look, mean, self.previous_mean)
