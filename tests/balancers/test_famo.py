"""`FAMO` against torch's own softmax gradient and Adam, step by step."""

import pytest
import torch

from lm_objectives.balancers import FAMO, StepStatistics

INITIAL = torch.tensor([8.0, 8.0, 0.7], dtype=torch.double)
ALL = torch.ones(3, dtype=torch.bool)


def built(**arguments: float) -> FAMO:
    balancer = FAMO(**arguments)
    balancer.setup(("causal", "masked", "order"), INITIAL, 100)
    return balancer


def test_many_steps_agree_with_autograd_and_torch_adam() -> None:
    balancer = built(learning_rate=0.05, decay=0.02)
    logits = torch.zeros(3, dtype=torch.double, requires_grad=True)
    adam = torch.optim.Adam([logits], lr=0.05, weight_decay=0.02)
    history = [INITIAL * torch.exp(-torch.tensor([0.3, 0.1, 0.02]) * t) for t in range(12)]
    for step, losses in enumerate(history):
        if step:
            fall = history[step - 1].log() - losses.log()
            adam.zero_grad()
            torch.softmax(logits, 0).backward(fall)
            adam.step()
        balancer.update(StepStatistics(step, losses, ALL))
        scaled = torch.softmax(logits.detach(), 0) / losses
        torch.testing.assert_close(balancer.weights(step + 1), 3 * scaled / scaled.sum())


def test_before_the_first_step_weights_are_inverse_to_the_theoretical_losses() -> None:
    torch.testing.assert_close(built().weights(0), 3 / INITIAL / (1 / INITIAL).sum())


def test_a_newcomer_moves_from_its_second_step_on() -> None:
    balancer = built()
    two = torch.tensor([True, True, False])
    balancer.update(StepStatistics(0, INITIAL * 0.9, two))
    balancer.update(StepStatistics(1, INITIAL * torch.tensor([0.8, 0.7, 0.9]), ALL))
    assert balancer.logits[2] == 0
    assert balancer.logits[0] > 0 > balancer.logits[1]
    balancer.update(StepStatistics(2, INITIAL * torch.tensor([0.8, 0.7, 0.5]), ALL))
    assert balancer.logits[2] < 0


def test_losses_of_zero_or_below_do_not_poison() -> None:
    balancer = built()
    for step in range(3):
        balancer.update(StepStatistics(step, torch.tensor([0.0, -1.0, 0.5], dtype=torch.double), ALL))
        assert balancer.weights(step + 1).isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"learning_rate": 0.0}, "a learning_rate above 0, at most 1,000, found 0.0: try 0.025"),
        ({"decay": -1.0}, "a decay from 0 to 1,000, found -1.0: try 0.01"),
    ],
)
def test_bad_arguments_are_one_clear_line(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FAMO(**arguments)
