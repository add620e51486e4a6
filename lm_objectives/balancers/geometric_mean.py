"""Weights that minimise the product of the losses."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lm_objectives.balancers.base import Balancer, StepStatistics, masked_mean


class GeometricMean(Balancer):
    """Geometric loss strategy (GLS): the total is the geometric mean of the losses, so their units do not matter.

        total = n · (Π L_i)^(1/n),   w_i = ∂total / ∂L_i = (Π L_j)^(1/n) / L_i

    The factor n, the number of objectives that the step had, makes equal losses weigh 1 each and leaves the direction
    alone. Weights come from the losses of the step before (at first the theoretical ones), so that they are known
    before the step; the paper uses the step's own. Losses are taken as at least the smallest relative difference of
    their dtype.

    Chennupati et al., "MultiNet++: Multi-Stream Feature Aggregation and Geometric Loss Strategy for Multi-Task
    Learning", CVPR Workshops 2019, section 3.2.
    """

    weight: Tensor

    def setup(self, names: Sequence[str], initial_losses: Float[Tensor, " objectives"], steps: int) -> None:
        super().setup(names, initial_losses, steps)
        everyone = torch.ones_like(initial_losses, dtype=torch.bool)
        self.register_buffer("weight", _geometric_weights(initial_losses, everyone))

    def weights(self, step: int) -> Float[Tensor, " objectives"]:
        del step
        return self.weight

    def update(self, totals: StepStatistics) -> None:
        weight = _geometric_weights(totals.losses.to(self.weight), totals.trained)
        self.weight = torch.where(totals.trained, weight, self.weight)


def _geometric_weights(
    losses: Float[Tensor, " objectives"], present: Bool[Tensor, " objectives"]
) -> Float[Tensor, " objectives"]:
    """The present losses' geometric mean over each loss."""
    logs = losses.clamp(min=torch.finfo(losses.dtype).eps).log()
    return torch.exp(masked_mean(logs, present) - logs)
