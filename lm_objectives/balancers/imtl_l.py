"""IMTL-L: learned weights that bring every loss to the same size."""

import torch
from torch import Tensor

from lm_objectives.balancers.base import Balancer, PerObjective, StepStatistics


class IMTLL(Balancer):
    """IMTL-L, the loss half of impartial multi-task learning: scaled losses are drawn to 1 by learned scales.

        w_i = e^(s_i),   total = Σ e^(s_i) L_i - s_i,   ds_i = e^(s_i) L_i - 1

    After each step s_i moves by -learning_rate · ds_i from its start at 0; it is no parameter, so that the optimizer
    neither decays nor clips it. At rest w_i = 1 / L_i. With one objective there is nothing to balance and its weight
    is 1; one of several that is alone in a step keeps its learned weight.

        >>> import torch
        >>> from lm_objectives import IMTLL, StepStatistics
        >>> balancer = IMTLL(learning_rate=0.1)
        >>> balancer.setup(["causal", "order"], torch.tensor([8.0, 0.7]), steps=100)
        >>> balancer.update(StepStatistics(0, torch.tensor([6.0, 0.5]), torch.tensor([True, True])))
        >>> balancer.weights(1)
        tensor([0.6065, 1.0513])

    Liu et al., "Towards Impartial Multi-task Learning", ICLR 2021, section 3.2.

    Args:
        learning_rate: step size of the log scales, above 0, at most 1,000; about 1 / learning_rate steps to settle.
    """

    log_scale: Tensor

    def __init__(self, learning_rate: float = 0.01) -> None:
        super().__init__()
        self.expect_rate(learning_rate, "try 0.01")
        self.learning_rate = learning_rate

    def initial_state(self, losses: PerObjective) -> dict[str, Tensor]:
        return {"log_scale": torch.zeros_like(losses)}

    def weights(self, step: int) -> PerObjective:
        return torch.exp(self.log_scale) if len(self.names) > 1 else torch.ones_like(self.log_scale)

    def update(self, statistics: StepStatistics) -> None:
        slope = torch.exp(self.log_scale) * statistics.losses - 1
        self.log_scale = self.log_scale - self.learning_rate * slope
