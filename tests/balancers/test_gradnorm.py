"""`GradNorm` against autograd on the published gradient loss, with its targets held constant."""

import pytest
import torch

from lm_objectives.balancers import GradNorm, StepStatistics

INITIAL = torch.tensor([4.0, 1.0, 7.0], dtype=torch.double)
LOSSES = torch.tensor([2.0, 0.9, 3.0], dtype=torch.double)
GRADIENTS = torch.tensor([[3.0, 0.0], [0.6, 0.8], [1.0, 1.0]], dtype=torch.double)
ALL = torch.ones(3, dtype=torch.bool)


def built(**arguments: float) -> GradNorm:
    balancer = GradNorm(**arguments)
    balancer.setup(("causal", "order", "masked"), INITIAL, 10)
    return balancer


@pytest.mark.parametrize("alpha", [0.0, 0.12, 1.5])
def test_a_step_descends_the_published_gradient_loss(alpha: float) -> None:
    balancer = built(alpha=alpha, learning_rate=0.01)
    start = torch.tensor([0.5, 1.2, 1.3], dtype=torch.double)
    balancer.weight = start
    w = start.clone().requires_grad_()
    norms = (w[:, None] * GRADIENTS).norm(dim=1)
    inverse_rate = (LOSSES / INITIAL) / (LOSSES / INITIAL).mean()
    target = (norms.mean() * inverse_rate**alpha).detach()
    (norms - target).abs().sum().backward()
    moved = start - 0.01 * w.grad
    balancer.update(StepStatistics(0, LOSSES, ALL, GRADIENTS))
    torch.testing.assert_close(balancer.weights(1), moved * 3 / moved.sum())


def test_an_objective_that_lags_behind_gains_weight() -> None:
    balancer = built()
    equal = torch.eye(3, dtype=torch.double)
    balancer.update(StepStatistics(0, INITIAL * torch.tensor([0.5, 0.5, 0.9]), ALL, equal))
    weights = balancer.weights(1)
    assert weights[2] > 1 > weights[0]


def test_weights_stay_positive_under_huge_gradients() -> None:
    balancer = built()
    for step in range(5):
        balancer.update(StepStatistics(step, LOSSES, ALL, 1e6 * GRADIENTS))
        assert (balancer.weights(step) > 0).all()
        assert balancer.weights(step).sum().item() == pytest.approx(3)


def test_weights_stay_finite_under_zero_losses_and_gradients() -> None:
    balancer = built()
    balancer.update(StepStatistics(0, torch.zeros(3, dtype=torch.double), ALL, torch.zeros_like(GRADIENTS)))
    assert balancer.weights(1).tolist() == [1, 1, 1]


def test_what_is_absent_takes_no_part_in_means_and_sums() -> None:
    balancer, pair = built(), GradNorm()
    pair.setup(("causal", "order"), INITIAL[:2], 10)
    garbage = torch.cat([GRADIENTS[:2], torch.full((1, 2), torch.nan, dtype=torch.double)])
    balancer.update(StepStatistics(0, LOSSES, torch.tensor([True, True, False]), garbage))
    pair.update(StepStatistics(0, LOSSES[:2], ALL[:2], GRADIENTS[:2]))
    torch.testing.assert_close(balancer.weights(1), torch.cat([pair.weights(1), torch.ones(1, dtype=torch.double)]))


def test_it_asks_for_the_last_layer_and_says_when_it_gets_nothing() -> None:
    assert (GradNorm.needs, GradNorm(layer=-2).layer) == ("last_layer", -2)
    with pytest.raises(ValueError, match="gradients over the last layer, found none"):
        built().update(StepStatistics(0, LOSSES, ALL))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": -0.5}, "an alpha from 0 to 100, found -0.5: use 0"),
        ({"learning_rate": 0.0}, "a learning_rate above 0, at most 1,000, found 0.0: try 0.025"),
    ],
)
def test_bad_arguments_are_one_clear_line(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GradNorm(**arguments)


def test_an_initial_loss_of_zero_is_one_clear_line() -> None:
    with pytest.raises(ValueError, match="initial losses above 0, found"):
        GradNorm().setup(("causal", "order"), torch.tensor([4.0, 0.0]), 10)
