"""Dynamic weight averaging."""

import math

import torch
from torch import Tensor

from lm_objectives.balancers.base import Balancer, PerObjective, StepStatistics
from lm_objectives.ranges import is_within


class DynamicWeightAverage(Balancer):
    """Dynamic weight averaging (DWA): an objective whose loss falls more slowly than the others' weighs more.

        r_i = mean loss of the last window / mean loss of the window before
        w_i = n exp(r_i / temperature) / Σ_j exp(r_j / temperature)

    The paper's windows are epochs; a pretraining run may have less than one, so a window here is a number of optimizer
    steps. Weights are 1 until two windows are over. The softmax runs over the n objectives that have two windows, and
    the others keep their weight; a step that was skipped is no part of a window.

        >>> import torch
        >>> from lm_objectives import DynamicWeightAverage, StepStatistics
        >>> balancer = DynamicWeightAverage(window=1)
        >>> balancer.setup(["causal", "order"], torch.tensor([8.0, 0.7]), steps=100)
        >>> for step, losses in enumerate([[4.0, 1.0], [2.0, 0.9]]):
        ...     balancer.update(StepStatistics(step, torch.tensor(losses), torch.tensor([True, True])))
        >>> balancer.weights(2)
        tensor([0.9003, 1.0997])

    Liu et al., "End-to-End Multi-Task Learning with Attention", CVPR 2019, section 3.2.

    Args:
        temperature: softness, above 0; large values give equal weights.
        window: optimizer steps whose losses are averaged, at least 1.
    """

    windows: Tensor
    position: Tensor

    def __init__(self, temperature: float = 2.0, window: int = 100) -> None:
        super().__init__()
        valid = is_within(temperature, 0) and temperature > 0
        self.expect(valid, "a finite temperature above 0", temperature, "try 2.0")
        self.expect(window >= 1, "a window of at least 1 step", window, "try 100")
        self.temperature = temperature
        self.window = window

    def initial_state(self, losses: PerObjective) -> dict[str, Tensor]:
        # Rows: sum and count of this window's losses, mean of the window before (0: there is none), weight. They are
        # together, not `(objectives,)` each, since a window also ends for those absent from its last step.
        windows = torch.zeros(4, len(losses)).to(losses)
        windows[3] = 1
        return {"windows": windows, "position": torch.zeros((), dtype=torch.long)}

    def weights(self, step: int) -> PerObjective:
        return self.windows[3]

    def update(self, statistics: StepStatistics) -> None:
        total, count, previous, weight = self.windows
        losses = statistics.losses.clamp(min=torch.finfo(weight.dtype).eps)
        total = total + torch.where(statistics.trained, losses, 0)
        count = count + statistics.trained
        self.position = (self.position + 1) % self.window

        over = self.position == 0
        read = over & (count > 0)
        mean = total / count.clamp(min=1)
        known = read & (previous > 0)
        rate = torch.where(known, mean / previous, -math.inf)
        weight = torch.where(known, known.sum() * torch.softmax(rate / self.temperature, 0), weight)
        previous = torch.where(read, mean, previous)
        self.windows = torch.stack([torch.where(over, 0, total), torch.where(over, 0, count), previous, weight])
