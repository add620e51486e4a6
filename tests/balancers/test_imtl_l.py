"""`IMTLL` against autograd on the published total, and against the point where it rests."""

import pytest
import torch

from lm_objectives.balancers import IMTLL, StepStatistics

LOSSES = torch.tensor([2.0, 0.5], dtype=torch.double)
BOTH = torch.ones(2, dtype=torch.bool)


def built(learning_rate: float) -> IMTLL:
    balancer = IMTLL(learning_rate)
    balancer.setup(("causal", "order"), torch.tensor([8.0, 0.7], dtype=torch.double), 10)
    return balancer


def test_a_step_descends_the_published_total() -> None:
    balancer = built(0.1)
    balancer.log_scale = torch.tensor([-0.5, 0.7], dtype=torch.double)
    s = balancer.log_scale.clone().requires_grad_()
    losses = LOSSES.clone().requires_grad_()
    (torch.exp(s) * losses - s).sum().backward()
    torch.testing.assert_close(balancer.weights(0), losses.grad)
    balancer.update(StepStatistics(0, LOSSES, BOTH))
    torch.testing.assert_close(balancer.log_scale, s.detach() - 0.1 * s.grad)


def test_it_rests_where_all_weighted_losses_are_one() -> None:
    balancer = built(0.5)
    for step in range(200):
        balancer.update(StepStatistics(step, LOSSES, BOTH))
    torch.testing.assert_close(balancer.weights(200) * LOSSES, torch.ones(2, dtype=torch.double))


def test_a_learning_rate_of_zero_is_one_clear_line() -> None:
    with pytest.raises(ValueError, match=r"a learning_rate above 0, at most 1,000, found 0.0: try 0.01"):
        IMTLL(0.0)
