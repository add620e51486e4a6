"""`DynamicWeightAverage` against the published softmax over window means, written out."""

import pytest
import torch

from lm_objectives.balancers import DynamicWeightAverage, StepStatistics

ALL = torch.ones(3, dtype=torch.bool)


def built(**arguments: float) -> DynamicWeightAverage:
    balancer = DynamicWeightAverage(**arguments)
    balancer.setup(("causal", "masked", "order"), torch.ones(3, dtype=torch.double), 100)
    return balancer


def told(step: int, losses: list[float], present: torch.Tensor = ALL) -> StepStatistics:
    return StepStatistics(step, torch.tensor(losses, dtype=torch.double), present)


def test_weights_change_at_the_end_of_each_window_from_the_second_on() -> None:
    balancer = built(window=2, temperature=3.0)
    rows = [[4.0, 1.0, 6.0], [2.0, 3.0, 6.0], [1.0, 2.0, 6.0], [2.0, 1.0, 3.0]]
    for step, losses in enumerate(rows):
        assert balancer.weights(step).tolist() == [1, 1, 1]
        balancer.update(told(step, losses))
    means = torch.tensor(rows, dtype=torch.double).view(2, 2, 3).mean(1)
    powers = torch.exp(means[1] / means[0] / 3.0)
    torch.testing.assert_close(balancer.weights(4), 3 * powers / powers.sum())


def test_an_objective_without_two_windows_keeps_its_weight() -> None:
    balancer = built(window=1)
    two = torch.tensor([True, True, False])
    balancer.update(told(0, [4.0, 1.0, 0.0], two))
    balancer.update(told(1, [2.0, 0.9, 5.0]))
    powers = torch.exp(torch.tensor([0.5, 0.9], dtype=torch.double) / 2)
    expected = torch.cat([2 * powers / powers.sum(), torch.ones(1, dtype=torch.double)])
    torch.testing.assert_close(balancer.weights(2), expected)


def test_losses_of_zero_or_below_do_not_poison() -> None:
    balancer = built(window=1)
    for step, losses in enumerate([[0.0, -1.0, 1.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]):
        balancer.update(told(step, losses))
        assert balancer.weights(step + 1).isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": 0.0}, "a finite temperature above 0, found 0.0: try 2.0"),
        ({"window": 0}, "a window of at least 1 step, found 0: try 100"),
    ],
)
def test_bad_arguments_are_one_clear_line(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DynamicWeightAverage(**arguments)
