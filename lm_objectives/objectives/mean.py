"""Means over held-out rows, of all batches and ranks."""

import torch
from torch import Tensor
from torchmetrics import Metric


class Mean(Metric):
    """Σ weight · value / Σ weight; a NaN among the values shows instead of being left out.

    torchmetrics' own MeanMetric does not do both: where it leaves NaN in, it takes all weights as 1 (1.9).
    """

    total: Tensor
    weight: Tensor
    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("weight", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, value: Tensor, weight: Tensor | float | int = 1) -> None:
        """Add values of any shape, each with its weight, or all with the same; in single precision at least."""
        dtype = torch.promote_types(value.dtype, torch.float32)
        weights = torch.as_tensor(weight, dtype=dtype, device=value.device).expand(value.shape)
        self.total = self.total + (value.to(dtype) * weights).sum()
        self.weight = self.weight + weights.sum()

    def compute(self) -> Tensor:
        """The mean; NaN of nothing."""
        return self.total / self.weight
