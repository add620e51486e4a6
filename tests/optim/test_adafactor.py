"""Adafactor against its paper, and against torch's where the two agree."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lm_objectives.optim import Adafactor


def rms(x: Tensor) -> Tensor:
    return x.square().mean().sqrt()


def by_the_paper(start: Tensor, gradients: list[Tensor], lr: float, scale: bool = True) -> Tensor:
    """Shazeer and Stern 2018, algorithms 4 (matrices) and 5 (vectors), with sums where ours has means."""
    x, r, c, v = start, torch.zeros(()), torch.zeros(()), torch.zeros(())
    for t, g in enumerate(gradients, 1):
        beta = 1 - t**-0.8
        squares = g**2 + 1e-30
        if x.ndim == 2:
            r = beta * r + (1 - beta) * squares.sum(1)
            c = beta * c + (1 - beta) * squares.sum(0)
            v = torch.outer(r, c) / r.sum()
        else:
            v = beta * v + (1 - beta) * squares
        u = g / v.sqrt()
        u = u / max(1.0, float(rms(u)))
        x = x - lr * (max(1e-3, float(rms(x))) if scale else 1.0) * u
    return x


def run(kind: Any, start: Tensor, gradients: list[Tensor], **settings: Any) -> tuple[Tensor, Any]:
    weight = nn.Parameter(start.clone())
    optimizer = kind([weight], **settings)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
    return weight.detach(), optimizer.state[weight]


def numbers(*shape: int, count: int = 6) -> tuple[Tensor, list[Tensor]]:
    """A start, and gradients of sizes from a tenth to ten."""
    start, *gradients = torch.randn(count, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return start, [gradient * 10 ** (step % 3 - 1) for step, gradient in enumerate(gradients)]


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("shape", [(7, 5), (5, 7), (6,)])
def test_equals_the_paper(shape: tuple[int, ...], scale: bool) -> None:
    start, gradients = numbers(*shape)
    ours, _ = run(Adafactor, start, gradients, lr=0.02, scale_parameter=scale)
    torch.testing.assert_close(ours, by_the_paper(start, gradients, 0.02, scale), rtol=0, atol=1e-12)


def test_equals_torch_below_its_cap() -> None:
    """Torch takes min(lr, 1/√t), which is lr for these few steps."""
    start, gradients = numbers(7, 5)
    ours, _ = run(Adafactor, start, gradients, lr=0.02)
    theirs, _ = run(torch.optim.Adafactor, start, gradients, lr=0.02, eps=(1e-30, 1e-3))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_small_gradients_take_whole_steps() -> None:
    """The update does not depend on the gradients' size, in single precision either."""
    start, gradients = numbers(7, 5)
    ends = [
        run(Adafactor, start.float(), [scale * gradient.float() for gradient in gradients], lr=0.02)[0]
        for scale in (1.0, 1e-6)
    ]
    torch.testing.assert_close(*ends, rtol=0, atol=1e-6)


def test_rows_without_gradient_stay() -> None:
    """As those of an embedding whose tokens are not read."""
    start, gradients = numbers(7, 5)
    for gradient in gradients:
        gradient[2] = 0
    end, _ = run(Adafactor, start.float(), [gradient.float() for gradient in gradients])
    assert end.isfinite().all() and torch.equal(end[2], start[2].float())


def test_a_matrix_keeps_a_row_and_a_column() -> None:
    start, gradients = numbers(70, 50)
    _, state = run(Adafactor, start, gradients)
    assert sum(value.numel() for value in state.values() if isinstance(value, Tensor) and value.ndim) == 70 + 50


def test_the_rate_is_the_schedules_alone() -> None:
    """Also where the paper's own relative step would be smaller."""
    start, gradients = numbers(7, 5, count=2)
    weight = nn.Parameter(start.clone())
    optimizer = Adafactor([weight], lr=0.05)
    weight.grad = gradients[0]
    optimizer.step()
    optimizer.state[weight]["step"] = 1_000_000
    before = weight.detach().clone()
    optimizer.step()
    assert rms(weight.detach() - before) == pytest.approx(0.05 * float(rms(before)), rel=0.1)


BAD = [
    ({"lr": -0.1}, "expected lr of at least 0, found -0.1: choose a number such as 0.001"),
    ({"weight_decay": float("nan")}, "expected weight_decay of at least 0, found nan: choose a number such as 0.001"),
    ({"eps": (0.0, 1e-3)}, "expected eps[0] above 0, found 0.0: leave it out for the published one"),
    ({"clip_threshold": 0.0}, "expected clip_threshold above 0, found 0.0: leave it out for the published one"),
    ({"decay_rate": 0.8}, "expected decay_rate below 0, found 0.8: -0.8 is the published one"),
]


@pytest.mark.parametrize(("settings", "message"), BAD)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        Adafactor([nn.Parameter(torch.zeros(2, 2))], **settings)
    assert str(caught.value) == message
