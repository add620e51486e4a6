"""Homoscedastic uncertainty weighting."""

from typing import Literal

import torch
from torch import Tensor

from lm_objectives.balancers.base import Balancer, PerObjective, StepStatistics


class Uncertainty(Balancer):
    """Homoscedastic uncertainty: an objective weighs less the larger its learned variance σ² is.

    With s_i = ln σ_i², a log variance learned along with the model, 0 at the start:

        w_i = e^(-s_i) / 2

        kendall   total = Σ e^(-s_i) L_i / 2 + s_i / 2          ds_i = (1 - e^(-s_i) L_i) / 2
        liebel    total = Σ e^(-s_i) L_i / 2 + ln(1 + e^(s_i))  ds_i = sigmoid(s_i) - e^(-s_i) L_i / 2

    Kendall's total may fall below 0, Liebel's cannot. After each step s_i moves by -learning_rate · ds_i; it is no
    parameter, so that the optimizer neither decays nor clips it. The regularizing terms have no gradient in the model.
    At rest Kendall's weights are 1 / (2 L_i). With one objective there is nothing to balance and its weight is 1; one
    of several that is alone in a step keeps its learned weight.

        >>> import torch
        >>> from lm_objectives import StepStatistics, Uncertainty
        >>> balancer = Uncertainty(learning_rate=0.1)
        >>> balancer.setup(["causal", "order"], torch.tensor([8.0, 0.7]), steps=100)
        >>> balancer.update(StepStatistics(0, torch.tensor([6.0, 0.5]), torch.tensor([True, True])))
        >>> balancer.weights(1)
        tensor([0.3894, 0.5127])

    Kendall et al., "Multi-Task Learning Using Uncertainty to Weigh Losses", CVPR 2018, section 3;
    Liebel and Körner, "Auxiliary Tasks in Multi-task Learning", 2018, section 3.

    Args:
        learning_rate: step size of the log variances, above 0, at most 1,000; about 2 / learning_rate steps to settle.
        variant: which published total the log variances descend, "kendall" or "liebel".
    """

    log_variance: Tensor

    def __init__(self, learning_rate: float = 0.01, variant: Literal["kendall", "liebel"] = "kendall") -> None:
        super().__init__()
        self.expect_rate(learning_rate, "try 0.01")
        self.expect(variant in ("kendall", "liebel"), "the variant kendall or liebel", variant, "choose one of them")
        self.learning_rate = learning_rate
        self.variant = variant

    def initial_state(self, losses: PerObjective) -> dict[str, Tensor]:
        return {"log_variance": torch.zeros_like(losses)}

    def weights(self, step: int) -> PerObjective:
        return torch.exp(-self.log_variance) / 2 if len(self.names) > 1 else torch.ones_like(self.log_variance)

    def update(self, statistics: StepStatistics) -> None:
        s = self.log_variance
        pull = 0.5 if self.variant == "kendall" else torch.sigmoid(s)
        slope = pull - torch.exp(-s) * statistics.losses / 2
        self.log_variance = s - self.learning_rate * slope
