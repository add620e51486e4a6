"""Golden numbers: one small input and its published result for each balancer, computed independently."""

from typing import Any

import pytest
import torch

from lm_objectives.balancers import FAMO, Balancer, DynamicWeightAverage, GradNorm, StepStatistics, TorchJD, Uncertainty

BOTH = torch.ones(2, dtype=torch.bool)
J = torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]], dtype=torch.double)


def built(balancer: Balancer, initial: tuple[float, float] = (1.0, 1.0)) -> Any:
    balancer.setup(("first", "second"), torch.tensor(initial, dtype=torch.double), 100)
    return balancer


def told(losses: tuple[float, float], gradients: torch.Tensor | None = None) -> StepStatistics:
    return StepStatistics(0, torch.tensor(losses, dtype=torch.double), BOTH, gradients)


@pytest.mark.parametrize(("steps", "expected"), [(1, (0.948718, 1.051282)), (20, (0.283181, 1.716819))])
def test_gradnorm(steps: int, expected: tuple[float, float]) -> None:
    balancer = built(GradNorm(alpha=1.5, learning_rate=0.025), (4.0, 1.0))
    for _ in range(steps):
        balancer.update(told((2.0, 0.9), torch.diag(torch.tensor([3.0, 1.0], dtype=torch.double))))
    assert balancer.weights(steps).tolist() == pytest.approx(expected, abs=1e-6)


def test_uncertainty() -> None:
    balancer = built(Uncertainty(learning_rate=1.0))
    balancer.log_variance = torch.full((2,), -0.5, dtype=torch.double)
    assert balancer.weights(0).tolist() == pytest.approx([0.824361, 0.824361], abs=1e-6)
    balancer.update(told((2.0, 0.5)))
    assert (-0.5 - balancer.log_variance).tolist() == pytest.approx([-1.1487, 0.0878], abs=1e-4)


def test_dynamic_weight_average() -> None:
    balancer = built(DynamicWeightAverage(temperature=2.0, window=1))
    balancer.update(told((4.0, 1.0)))
    balancer.update(told((2.0, 0.9)))
    assert balancer.weights(2).tolist() == pytest.approx([0.900332, 1.099668], abs=1e-6)


def test_famo() -> None:
    balancer = built(FAMO(learning_rate=0.025))
    balancer.update(told((2.0, 0.5)))
    balancer.update(told((1.0, 0.45)))
    assert torch.softmax(balancer.logits, 0).tolist() == pytest.approx([0.487503, 0.512497], abs=1e-6)


@pytest.mark.parametrize(
    ("weighting", "arguments", "expected"),
    [
        ("UPGrad", None, (1.11092, 0.78943)),
        ("MGDA", None, (0.6, 0.4)),
        ("IMTL-G", None, (0.59233, 0.40767)),
        ("AlignedMTL", None, (0.55907, 0.40826)),
        ("CAGrad", {"c": 0.5}, (0.70412, 0.5)),
        ("Nash-MTL", None, (0.41823, 0.28784)),
        ("PCGrad", None, (2.22222, 1.57895)),
    ],
)
def test_torchjd(weighting: str, arguments: dict[str, float] | None, expected: tuple[float, float]) -> None:
    pytest.importorskip("torchjd")
    balancer = built(TorchJD(weighting, arguments))
    assert balancer.update(told((1.0, 1.0), J)).tolist() == pytest.approx(expected, abs=1e-5)
