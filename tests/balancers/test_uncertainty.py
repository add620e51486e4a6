"""`Uncertainty` against autograd on the published totals, and against the point where they rest."""

import pytest
import torch
from torch import Tensor

from lm_objectives.balancers import StepStatistics, Uncertainty

LOSSES = torch.tensor([2.0, 0.5], dtype=torch.double)
BOTH = torch.ones(2, dtype=torch.bool)


def built(**arguments: object) -> Uncertainty:
    balancer = Uncertainty(**arguments)
    balancer.setup(("causal", "order"), torch.tensor([8.0, 0.7], dtype=torch.double), 10)
    return balancer


def published_total(s: Tensor, losses: Tensor, variant: str) -> Tensor:
    """Kendall 2018 in log variances; Liebel 2018 in the standard deviation c that it learns."""
    if variant == "kendall":
        return (torch.exp(-s) * losses / 2 + s / 2).sum()
    c = torch.exp(s / 2)
    return (losses / (2 * c**2) + torch.log(1 + c**2)).sum()


@pytest.mark.parametrize("variant", ["kendall", "liebel"])
def test_a_step_descends_the_published_total(variant: str) -> None:
    balancer = built(learning_rate=0.1, variant=variant)
    balancer.log_variance = torch.tensor([-0.5, 0.7], dtype=torch.double)
    s = balancer.log_variance.clone().requires_grad_()
    losses = LOSSES.clone().requires_grad_()
    published_total(s, losses, variant).backward()
    torch.testing.assert_close(balancer.weights(0), losses.grad)
    balancer.update(StepStatistics(0, LOSSES, BOTH))
    torch.testing.assert_close(balancer.log_variance, s.detach() - 0.1 * s.grad)


def test_it_rests_where_weights_are_half_the_inverse_losses() -> None:
    balancer = built(learning_rate=0.5)
    for step in range(200):
        balancer.update(StepStatistics(step, LOSSES, BOTH))
    torch.testing.assert_close(balancer.weights(200), 1 / (2 * LOSSES))


def test_losses_of_zero_or_below_do_not_poison() -> None:
    balancer = built(learning_rate=0.1)
    balancer.update(StepStatistics(0, torch.tensor([0.0, -1.0], dtype=torch.double), BOTH))
    assert balancer.weights(1).isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"learning_rate": 0.0}, "a learning_rate above 0, at most 1,000, found 0.0: try 0.01"),
        ({"learning_rate": float("nan")}, "a learning_rate above 0, at most 1,000, found nan"),
    ],
)
def test_bad_arguments_are_one_clear_line(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Uncertainty(**arguments)
