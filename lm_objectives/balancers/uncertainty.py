"""Weights by the noise that each objective is believed to have."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lm_objectives.balancers.base import Balancer, StepStatistics
from lm_objectives.errors import InputError


class Uncertainty(Balancer):
    """Homoscedastic uncertainty: an objective weighs the less the larger its learned variance σ² is.

    With s_i = ln σ_i², a log variance learned beside the model and 0 at the start:

        w_i = e^(-s_i) / 2

        kendall   total = Σ e^(-s_i) L_i / 2 + s_i / 2          ds_i = (1 - e^(-s_i) L_i) / 2
        liebel    total = Σ e^(-s_i) L_i / 2 + ln(1 + e^(s_i))  ds_i = sigmoid(s_i) - e^(-s_i) L_i / 2

    Kendall's total may fall below 0, Liebel's cannot. After each step s_i moves by -learning_rate · ds_i; it is no
    parameter, so that the optimizer neither decays nor clips it. The regularizing terms have no gradient in the model.
    At rest Kendall's weights are 1 / (2 L_i). With one objective there is nothing to balance and its weight is 1; one
    of several that is alone in a step keeps its learned weight.

    Kendall et al., "Multi-Task Learning Using Uncertainty to Weigh Losses", CVPR 2018, section 3;
    Liebel and Körner, "Auxiliary Tasks in Multi-task Learning", 2018, section 3.

    Args:
        learning_rate: step size of the log variances, above 0; about 2 / learning_rate steps to settle.
        variant: which published total the log variances descend, "kendall" or "liebel".
    """

    log_variance: Tensor

    def __init__(self, learning_rate: float = 0.01, variant: Literal["kendall", "liebel"] = "kendall") -> None:
        super().__init__()
        if not 0 < learning_rate < math.inf:
            raise InputError(f"Uncertainty expects a learning_rate above 0, found {learning_rate}: try 0.01")
        if variant not in ("kendall", "liebel"):
            raise InputError(f"Uncertainty expects the variant kendall or liebel, found {variant}: choose one of them")
        self.learning_rate = learning_rate
        self.variant = variant

    def setup(self, names: Sequence[str], initial_losses: Float[Tensor, " objectives"], steps: int) -> None:
        super().setup(names, initial_losses, steps)
        self.register_buffer("log_variance", torch.zeros_like(initial_losses))

    def weights(self, step: int) -> Float[Tensor, " objectives"]:
        del step
        if len(self.names) == 1:
            return torch.ones_like(self.log_variance)
        return torch.exp(-self.log_variance) / 2

    def update(self, totals: StepStatistics) -> None:
        s = self.log_variance
        pull = 0.5 if self.variant == "kendall" else torch.sigmoid(s)
        slope = pull - torch.exp(-s) * totals.losses.to(s) / 2
        self.log_variance = torch.where(totals.trained, s - self.learning_rate * slope, s)
