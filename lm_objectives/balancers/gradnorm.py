"""Weights that let all objectives train at one rate."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lm_objectives.balancers.base import Balancer, StepStatistics, masked_mean, normalize_to_count
from lm_objectives.errors import InputError

_LEAST = 1e-3  # a weight of 0 would have no gradient norm to come back by


class GradNorm(Balancer):
    """Moves the weights until gradient norms on the last shared layer reflect how far each objective has come.

        G_i = w_i ‖∇L_i‖,   r_i = (L_i / L_i(0)) / mean_j (L_j / L_j(0)),   target_i = mean_j(G_j) · r_i^alpha
        dw_i = sign(G_i - target_i) ‖∇L_i‖,   w_i ← w_i - learning_rate · dw_i

    then all at least 0.001 and renormalised to sum to the number of objectives; targets are constants to the gradient.
    L_i(0) is the objective's theoretical loss before training, not one noisy batch's. An objective whose loss has
    fallen less than the others' gets a larger norm. Means and sums run over the objectives that the step had.

    Chen et al., "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep Multitask Networks", ICML 2018,
    section 3, algorithm 1.

    Args:
        alpha: how strongly those behind are pulled, at least 0; 0 asks for equal norms.
        learning_rate: step size of the weights, above 0.
        layer: index of the transformer block whose parameters count, negative from the end; -1 is the deepest that
            every objective reaches.
    """

    needs = "last_layer"
    initial_losses: Tensor
    weight: Tensor

    def __init__(self, alpha: float = 1.5, learning_rate: float = 0.025, layer: int = -1) -> None:
        super().__init__()
        if not 0 <= alpha < math.inf:
            raise InputError(f"GradNorm expects an alpha of at least 0, found {alpha}: use 0 for equal gradient norms")
        if not 0 < learning_rate < math.inf:
            raise InputError(f"GradNorm expects a learning_rate above 0, found {learning_rate}: try 0.025")
        self.alpha = alpha
        self.learning_rate = learning_rate
        self.layer = layer

    def setup(self, names: Sequence[str], initial_losses: Float[Tensor, " objectives"], steps: int) -> None:
        super().setup(names, initial_losses, steps)
        if not bool((initial_losses > 0).all()):
            raise InputError(
                f"GradNorm expects initial losses above 0, found {initial_losses.tolist()} for {', '.join(names)}: "
                "have each objective's initial_loss say its theoretical loss in nats"
            )
        self.register_buffer("weight", torch.ones_like(initial_losses))

    def weights(self, step: int) -> Float[Tensor, " objectives"]:
        del step
        return self.weight

    def update(self, totals: StepStatistics) -> None:
        if totals.gradients is None:
            raise InputError("GradNorm expects gradients over the last layer, found none: pass what its `needs` names")
        w, present = self.weight, totals.trained
        norms = torch.linalg.vector_norm(totals.gradients, dim=1).to(w)
        left = (totals.losses.to(w) / self.initial_losses).clamp(min=torch.finfo(w.dtype).eps)
        rate = left / masked_mean(left, present)
        target = masked_mean(w * norms, present) * rate**self.alpha
        moved = w - self.learning_rate * torch.sign(w * norms - target) * norms
        self.weight = torch.where(present, normalize_to_count(moved.clamp(min=_LEAST), present), w)
