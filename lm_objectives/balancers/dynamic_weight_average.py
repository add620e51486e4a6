"""Weights by how slowly each loss has been falling."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lm_objectives.balancers.base import Balancer, StepStatistics
from lm_objectives.errors import InputError


class DynamicWeightAverage(Balancer):
    """Dynamic weight averaging (DWA): an objective whose loss falls more slowly than the others' weighs more.

        r_i = mean loss of the last window / mean loss of the window before
        w_i = n exp(r_i / temperature) / Σ_j exp(r_j / temperature)

    The paper's windows are epochs; a pretraining run may have less than one, so a window here is a number of optimizer
    steps. Weights are 1 until two windows are over. The softmax runs over the n objectives that have two windows, and
    the others keep their weight; a step that was skipped is no part of a window.

    Liu et al., "End-to-End Multi-Task Learning with Attention", CVPR 2019, section 3.2.

    Args:
        temperature: softness, above 0; large values give equal weights.
        window: optimizer steps whose losses are averaged, at least 1.
    """

    weight: Tensor
    window_sum: Tensor
    window_count: Tensor
    previous_mean: Tensor
    position: Tensor

    def __init__(self, temperature: float = 2.0, window: int = 100) -> None:
        super().__init__()
        if not 0 < temperature < math.inf:
            raise InputError(f"DynamicWeightAverage expects a temperature above 0, found {temperature}: try 2.0")
        if window < 1:
            raise InputError(f"DynamicWeightAverage expects a window of at least 1 step, found {window}: try 100")
        self.temperature = temperature
        self.window = window

    def setup(self, names: Sequence[str], initial_losses: Float[Tensor, " objectives"], steps: int) -> None:
        super().setup(names, initial_losses, steps)
        self.register_buffer("weight", torch.ones_like(initial_losses))
        self.register_buffer("window_sum", torch.zeros_like(initial_losses))
        self.register_buffer("window_count", torch.zeros_like(initial_losses))
        self.register_buffer("previous_mean", torch.zeros_like(initial_losses))  # 0: no window is over yet
        self.register_buffer("position", torch.zeros((), dtype=torch.long))

    def weights(self, step: int) -> Float[Tensor, " objectives"]:
        del step
        return self.weight

    def update(self, totals: StepStatistics) -> None:
        losses = totals.losses.to(self.weight).clamp(min=torch.finfo(self.weight.dtype).eps)
        total = self.window_sum + torch.where(totals.trained, losses, 0)
        count = self.window_count + totals.trained
        position = self.position + 1

        over = position == self.window
        read = over & (count > 0)
        mean = total / count.clamp(min=1)
        known = read & (self.previous_mean > 0)
        rate = torch.where(known, mean / self.previous_mean, -math.inf)
        weight = known.sum() * torch.softmax(rate / self.temperature, 0)

        self.weight = torch.where(known, weight, self.weight)
        self.previous_mean = torch.where(read, mean, self.previous_mean)
        self.window_sum = torch.where(over, 0, total)
        self.window_count = torch.where(over, 0, count)
        self.position = torch.where(over, 0, position)
