"""GradNorm: gradient normalization for adaptive loss balancing."""

import torch
from torch import Tensor

from lm_objectives.balancers.base import Balancer, PerObjective, StepStatistics, masked_mean, normalize_to_count
from lm_objectives.errors import InputError
from lm_objectives.ranges import is_within

_LEAST = 1e-3  # a weight of 0 would have no gradient norm to come back by


class GradNorm(Balancer):
    """Moves the weights until gradient norms on the last shared layer reflect how far each objective has come.

        G_i = w_i ‖∇L_i‖,   r_i = (L_i / L_i(0)) / mean_j (L_j / L_j(0)),   target_i = mean_j(G_j) · r_i^alpha
        dw_i = sign(G_i - target_i) ‖∇L_i‖,   w_i ← w_i - learning_rate · dw_i

    then all at least 0.001 and renormalised to sum to the number of objectives; targets are constants to the gradient.
    L_i(0) is the objective's theoretical loss before training, not one noisy batch's. An objective whose loss has
    fallen less than the others' gets a larger norm. Means and sums run over the objectives that the step had.

        >>> import torch
        >>> from lm_objectives import GradNorm, StepStatistics
        >>> balancer = GradNorm()
        >>> balancer.setup(["causal", "order"], torch.tensor([8.0, 0.7]), steps=100)
        >>> gradients = torch.tensor([[3.0, 0.0], [0.0, 1.0]])  # of each loss over the last layer's parameters
        >>> balancer.update(StepStatistics(0, torch.tensor([4.0, 0.7]), torch.tensor([True, True]), gradients))
        >>> balancer.weights(1)
        tensor([0.9487, 1.0513])

    Chen et al., "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep Multitask Networks", ICML 2018,
    section 3, algorithm 1.

    Args:
        alpha: how strongly a slower fall of the loss raises an objective's target, from 0 (equal norms) to 100.
        learning_rate: step size of the weights, above 0, at most 1,000.
        layer: index of the transformer layer whose parameters count, negative from the end; -1 is the deepest that
            every objective reaches.
    """

    needs = "last_layer"

    def __init__(self, alpha: float = 1.5, learning_rate: float = 0.025, layer: int = -1) -> None:
        super().__init__()
        self.expect(is_within(alpha, 0, 100), "an alpha from 0 to 100", alpha, "use 0 for equal gradient norms")
        self.expect_rate(learning_rate, "try 0.025")
        self.alpha = alpha
        self.learning_rate = learning_rate
        self.layer = layer

    def initial_state(self, losses: PerObjective) -> dict[str, Tensor]:
        found = f"{losses.tolist()} for {', '.join(self.names)}"
        mend = "have each objective's initial_loss say its theoretical loss in nats"
        self.expect(bool((losses > 0).all()), "initial losses above 0", found, mend)
        return {"weight": torch.ones_like(losses)}

    def update(self, statistics: StepStatistics) -> None:
        if statistics.gradients is None:
            raise InputError("GradNorm expects gradients over the last layer, found none: pass what its `needs` names")
        w, trained = self.weight, statistics.trained
        norms = torch.linalg.vector_norm(statistics.gradients, dim=1).to(w)
        left = (statistics.losses / self.initial_losses).clamp(min=torch.finfo(w.dtype).eps)
        rate = left / masked_mean(left, trained)
        target = masked_mean(w * norms, trained) * rate**self.alpha
        moved = w - self.learning_rate * torch.sign(w * norms - target) * norms
        self.weight = normalize_to_count(moved.clamp(min=_LEAST), trained)
