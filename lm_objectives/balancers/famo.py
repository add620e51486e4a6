"""Weights that lower all log losses at the same speed."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lm_objectives.balancers.base import Balancer, StepStatistics, masked_sum, normalize_to_count
from lm_objectives.errors import InputError

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

    Liu et al., "FAMO: Fast Adaptive Multitask Optimization", NeurIPS 2023, algorithm 1.

    Args:
        learning_rate: Adam's step size for ξ, above 0.
        decay: pull of ξ towards 0, the paper's γ, at least 0.
    """

    weight: Tensor
    previous_losses: Tensor
    seen: Tensor
    logits: Tensor
    first_moment: Tensor
    second_moment: Tensor
    moves: Tensor

    def __init__(self, learning_rate: float = 0.025, decay: float = 0.01) -> None:
        super().__init__()
        if not 0 < learning_rate < math.inf:
            raise InputError(f"FAMO expects a learning_rate above 0, found {learning_rate}: try 0.025")
        if not 0 <= decay < math.inf:
            raise InputError(f"FAMO expects a decay of at least 0, found {decay}: try 0.01")
        self.learning_rate = learning_rate
        self.decay = decay

    def setup(self, names: Sequence[str], initial_losses: Float[Tensor, " objectives"], steps: int) -> None:
        super().setup(names, initial_losses, steps)
        for name in ("logits", "first_moment", "second_moment", "moves"):
            self.register_buffer(name, torch.zeros_like(initial_losses))
        everyone = torch.ones_like(initial_losses, dtype=torch.bool)
        self.register_buffer("seen", ~everyone)
        self.register_buffer("previous_losses", initial_losses.clamp(min=torch.finfo(initial_losses.dtype).eps))
        self.register_buffer("weight", normalize_to_count(1 / self.previous_losses, everyone))

    def weights(self, step: int) -> Float[Tensor, " objectives"]:
        del step
        return self.weight

    def update(self, totals: StepStatistics) -> None:
        present = totals.trained
        losses = totals.losses.to(self.weight).clamp(min=torch.finfo(self.weight.dtype).eps)
        self._move(self.previous_losses.log() - losses.log(), present & self.seen)
        self.previous_losses = torch.where(present, losses, self.previous_losses)
        self.seen = self.seen | present
        weight = normalize_to_count(_softmax(self.logits, present) / self.previous_losses, present)
        self.weight = torch.where(present, weight, self.weight)

    def _move(self, fall: Float[Tensor, " objectives"], known: Bool[Tensor, " objectives"]) -> None:
        """One step of Adam on the logits of the objectives whose fall is known."""
        z = _softmax(self.logits, known)
        slope = z * (fall - masked_sum(z * fall, known)) + self.decay * self.logits
        moves = self.moves + known
        first = torch.where(known, torch.lerp(slope, self.first_moment, _FIRST), self.first_moment)
        second = torch.where(known, torch.lerp(slope**2, self.second_moment, _SECOND), self.second_moment)
        speed = first / (1 - _FIRST**moves)
        size = (second / (1 - _SECOND**moves)).sqrt() + _TINY
        self.logits = torch.where(known, self.logits - self.learning_rate * speed / size, self.logits)
        self.first_moment, self.second_moment, self.moves = first, second, moves


def _softmax(
    logits: Float[Tensor, " objectives"], members: Bool[Tensor, " objectives"]
) -> Float[Tensor, " objectives"]:
    """Softmax over the members alone; the others get 0, or NaN where there are no members."""
    return torch.softmax(logits.masked_fill(~members, -math.inf), 0)
