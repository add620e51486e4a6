"""FAMO: fast adaptive multitask optimization."""

import math

import torch
from jaxtyping import Bool
from torch import Tensor

from lm_objectives.balancers.base import Balancer, PerObjective, StepStatistics, masked_sum, normalize_to_count
from lm_objectives.ranges import is_within

_FIRST, _SECOND, _TINY = 0.9, 0.999, 1e-8  # Adam as published


class FAMO(Balancer):
    """Fast adaptive multitask optimization: more weight to the log loss that fell least.

        z = softmax(ξ),   w_i ∝ z_i / L_i
        δ_i = ln L_i(t) - ln L_i(t + 1),   dξ = Jᵀδ + decay · ξ   with J = diag(z) - z zᵀ

    ξ starts at 0 and moves by Adam, as in the authors' code, with the gradient in closed form. Two differences from the
    paper, which weighs a step by the losses of that very step and measures δ on one batch before and after it: weights
    here come from the losses of the step before (at first the theoretical ones), and δ is the fall from one step's
    losses to the next one's, so that no loss is computed twice and weights are known before the step. The paper's
    weights sum to 1; here to the number of objectives that the step had. Losses are taken as at least the smallest
    relative difference of their dtype.

        >>> import torch
        >>> from lm_objectives import FAMO, StepStatistics
        >>> balancer = FAMO()
        >>> balancer.setup(["causal", "order"], torch.tensor([8.0, 0.5]), steps=100)
        >>> balancer.weights(0)
        tensor([0.1176, 1.8824])

    Liu et al., "FAMO: Fast Adaptive Multitask Optimization", NeurIPS 2023, algorithm 1.

    Args:
        learning_rate: Adam's step size for ξ, above 0, at most 1,000.
        decay: pull of ξ towards 0, the paper's γ, from 0 to 1,000.
    """

    logits: Tensor
    first_moment: Tensor
    second_moment: Tensor
    steps_trained: Tensor
    previous_losses: Tensor

    def __init__(self, learning_rate: float = 0.025, decay: float = 0.01) -> None:
        super().__init__()
        self.expect_rate(learning_rate, "try 0.025")
        self.expect(is_within(decay, 0, 1000), "a decay from 0 to 1,000", decay, "try 0.01")
        self.learning_rate = learning_rate
        self.decay = decay

    def initial_state(self, losses: PerObjective) -> dict[str, Tensor]:
        zeros, every = torch.zeros_like(losses), torch.ones_like(losses, dtype=torch.bool)
        losses = losses.clamp(min=torch.finfo(losses.dtype).eps)
        state = dict.fromkeys(("logits", "first_moment", "second_moment", "steps_trained"), zeros)
        return state | {"previous_losses": losses, "weight": normalize_to_count(1 / losses, every)}

    def update(self, statistics: StepStatistics) -> None:
        losses = statistics.losses.clamp(min=torch.finfo(statistics.losses.dtype).eps)
        known = statistics.trained & (self.steps_trained > 0)  # Adam moves the logits of these
        fall = self.previous_losses.log() - losses.log()
        z = _softmax(self.logits, known)
        slope = z * (fall - masked_sum(z * fall, known)) + self.decay * self.logits
        self.first_moment = torch.where(known, torch.lerp(slope, self.first_moment, _FIRST), self.first_moment)
        self.second_moment = torch.where(known, torch.lerp(slope**2, self.second_moment, _SECOND), self.second_moment)
        speed = self.first_moment / (1 - _FIRST**self.steps_trained)
        size = (self.second_moment / (1 - _SECOND**self.steps_trained)).sqrt() + _TINY
        self.logits = torch.where(known, self.logits - self.learning_rate * speed / size, self.logits)
        self.steps_trained = self.steps_trained + 1
        self.previous_losses = losses
        self.weight = normalize_to_count(_softmax(self.logits, statistics.trained) / losses, statistics.trained)


def _softmax(logits: PerObjective, members: Bool[Tensor, " objectives"]) -> PerObjective:
    """Softmax over the members alone; the others get 0, or NaN where there are no members."""
    return torch.softmax(logits.masked_fill(~members, -math.inf), 0)
