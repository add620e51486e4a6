"""`GeometricMean` against autograd on the geometric mean."""

import torch

from lm_objectives.balancers import GeometricMean, StepStatistics

INITIAL = torch.tensor([8.0, 8.0, 0.7], dtype=torch.double)
ALL = torch.ones(3, dtype=torch.bool)


def built() -> GeometricMean:
    balancer = GeometricMean()
    balancer.setup(("causal", "masked", "order"), INITIAL, 10)
    return balancer


def gradient_of_the_mean(losses: torch.Tensor) -> torch.Tensor:
    leaf = losses.clone().requires_grad_()
    (len(leaf) * leaf.prod() ** (1 / len(leaf))).backward()
    return leaf.grad


def test_weights_are_the_gradient_of_the_geometric_mean() -> None:
    balancer = built()
    torch.testing.assert_close(balancer.weights(0), gradient_of_the_mean(INITIAL))
    losses = torch.tensor([3.0, 5.0, 0.2], dtype=torch.double)
    balancer.update(StepStatistics(0, losses, ALL))
    torch.testing.assert_close(balancer.weights(1), gradient_of_the_mean(losses))


def test_the_mean_runs_over_those_present() -> None:
    balancer = built()
    before = balancer.weights(0)[2]
    losses = torch.tensor([3.0, 5.0, 0.0], dtype=torch.double)
    balancer.update(StepStatistics(0, losses, torch.tensor([True, True, False])))
    torch.testing.assert_close(balancer.weights(1)[:2], gradient_of_the_mean(losses[:2]))
    assert balancer.weights(1)[2] == before


def test_losses_of_zero_or_below_do_not_poison() -> None:
    balancer = built()
    balancer.update(StepStatistics(0, torch.tensor([0.0, -1.0, 0.5], dtype=torch.double), ALL))
    assert balancer.weights(1).isfinite().all()
