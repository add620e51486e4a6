"""Geometric loss strategy: weights that minimise the product of the losses."""

import torch
from jaxtyping import Bool
from torch import Tensor

from lm_objectives.balancers.base import Balancer, PerObjective, StepStatistics, masked_mean


class GeometricMean(Balancer):
    """Geometric loss strategy (GLS): the total is the geometric mean of the losses, so their units do not matter.

        total = n · (Π L_i)^(1/n),   w_i = ∂total / ∂L_i = (Π L_j)^(1/n) / L_i

    The factor n, the number of objectives that the step had, makes equal losses weigh 1 each and leaves the direction
    alone. Weights come from the losses of the step before (at first the theoretical ones), so that they are known
    before the step; the paper uses the step's own. Losses are taken as at least the smallest relative difference of
    their dtype.

        >>> import torch
        >>> from lm_objectives import GeometricMean
        >>> balancer = GeometricMean()
        >>> balancer.setup(["causal", "order"], torch.tensor([8.0, 0.5]), steps=100)
        >>> balancer.weights(0)
        tensor([0.2500, 4.0000])

    Chennupati et al., "MultiNet++: Multi-Stream Feature Aggregation and Geometric Loss Strategy for Multi-Task
    Learning", CVPR Workshops 2019, section 3.2.
    """

    def initial_state(self, losses: PerObjective) -> dict[str, Tensor]:
        return {"weight": _geometric_weights(losses, torch.ones_like(losses, dtype=torch.bool))}

    def update(self, statistics: StepStatistics) -> None:
        self.weight = _geometric_weights(statistics.losses, statistics.trained)


def _geometric_weights(losses: PerObjective, trained: Bool[Tensor, " objectives"]) -> PerObjective:
    """The trained objectives' geometric mean loss over each loss."""
    logs = losses.clamp(min=torch.finfo(losses.dtype).eps).log()
    return torch.exp(masked_mean(logs, trained) - logs)
