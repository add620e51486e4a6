"""Weights that bring every loss to the same size."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lm_objectives.balancers.base import Balancer, StepStatistics
from lm_objectives.errors import InputError


class IMTLL(Balancer):
    """IMTL-L, the loss half of impartial multi-task learning: scaled losses are drawn to 1 by learned scales.

        w_i = e^(s_i),   total = Σ e^(s_i) L_i - s_i,   ds_i = e^(s_i) L_i - 1

    After each step s_i moves by -learning_rate · ds_i from its start at 0; it is no parameter, so that the optimizer
    neither decays nor clips it. At rest w_i = 1 / L_i. With one objective there is nothing to balance and its weight
    is 1; one of several that is alone in a step keeps its learned weight.

    Liu et al., "Towards Impartial Multi-task Learning", ICLR 2021, section 3.2.

    Args:
        learning_rate: step size of the log scales, above 0; about 1 / learning_rate steps to settle.
    """

    log_scale: Tensor

    def __init__(self, learning_rate: float = 0.01) -> None:
        super().__init__()
        if not 0 < learning_rate < math.inf:
            raise InputError(f"IMTLL expects a learning_rate above 0, found {learning_rate}: try 0.01")
        self.learning_rate = learning_rate

    def setup(self, names: Sequence[str], initial_losses: Float[Tensor, " objectives"], steps: int) -> None:
        super().setup(names, initial_losses, steps)
        self.register_buffer("log_scale", torch.zeros_like(initial_losses))

    def weights(self, step: int) -> Float[Tensor, " objectives"]:
        del step
        if len(self.names) == 1:
            return torch.ones_like(self.log_scale)
        return torch.exp(self.log_scale)

    def update(self, totals: StepStatistics) -> None:
        s = self.log_scale
        slope = torch.exp(s) * totals.losses.to(s) - 1
        self.log_scale = torch.where(totals.trained, s - self.learning_rate * slope, s)
