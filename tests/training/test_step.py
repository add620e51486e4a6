"""One optimizer step by hand: sums over micro-batches and ranks, weights in and out, and what is logged."""

import pytest
import torch
from torch import Tensor, nn

from lm_objectives.training.gradients import GradientStore
from lm_objectives.training.step import NonFiniteError, StepAccumulator, StepMetrics

NAMES = ("a", "b", "c")
TOTALS = {"a": {"loss": 4}, "b": {"loss": 2}}


def accumulator(weights: list[float], store: GradientStore | None = None, deferred: bool = False, micro: int = 1):
    return StepAccumulator(NAMES, torch.tensor(weights), store, deferred, torch.float32, micro)


def losses(*values: float) -> dict[str, Tensor]:
    return dict(zip(NAMES, map(torch.tensor, values), strict=False))


def test_micro_batches_are_added_and_weighted() -> None:
    step = accumulator([0.5, 2.0, 0.0], micro=2)
    assert step.add(losses(1.0, 3.0), TOTALS, tokens=10) == 0.5 * 1 + 2 * 3
    assert not step.is_complete()
    assert step.add(losses(2.0), TOTALS, tokens=7) == 0.5 * 2
    step.reduce(1, lambda tensor: tensor, 1.0)
    assert step.losses.tolist() == [3.0, 3.0, 0.0] and step.tokens == 17
    assert step.has_rows == (True, True, False)
    assert step.trained().tolist() == [True, True, False]


def test_an_objective_of_weight_0_has_rows_and_is_not_trained() -> None:
    step = accumulator([0.0, 1.0, 1.0])
    step.add(losses(1.0, 1.0), TOTALS, tokens=1)
    step.reduce(1, lambda tensor: tensor, 1.0)
    assert step.has_rows == (True, True, False) and step.trained().tolist() == [False, True, False]


def test_a_step_that_lacks_micro_batches_is_a_defect() -> None:
    step = accumulator([1.0, 1.0, 1.0], micro=2)
    step.add(losses(1.0), TOTALS, tokens=1)
    with pytest.raises(RuntimeError, match="a step of 2 micro-batches was taken after 1"):
        step.reduce(1, lambda tensor: tensor, 1.0)


@pytest.mark.parametrize("deferred", [False, True])
def test_gradients_are_unweighted_and_the_total_is_weighted(deferred: bool) -> None:
    """Oracle: losses 3p, 5p and none, whose gradients are 3 and 5; two ranks that measured the same, scaled by 8."""
    shared, heads = nn.Parameter(torch.ones(1)), [nn.Linear(1, 1, bias=False) for _ in NAMES]
    store, weights = GradientStore({"p": shared}, 3), [0.5, 4.0, 0.0]
    step = accumulator(weights, store, deferred)
    values = {
        name: factor * store.aliases(row)["p"].sum() + heads[row].weight.sum()
        for row, (name, factor) in enumerate(zip("ab", (3.0, 5.0), strict=True))
    }
    (8 * 2 * step.add(values, TOTALS, tokens=1)).backward()
    step.reduce(2, lambda tensor: 2 * tensor, scale=8.0)
    assert step.unweighted_gradients(["p"]).tolist() == [[6.0], [10.0], [0.0]]
    assert step.losses.tolist() == [2 * float(value.detach()) for value in values.values()] + [0.0]
    if deferred:
        for parameter in (shared, *(head.weight for head in heads)):
            if parameter.grad is not None:
                parameter.grad /= 8  # as DDP and the scaler would
        step.apply_weights(torch.tensor([1.0, 0.5, 0.0]), heads)
        assert shared.grad is not None and shared.grad.tolist() == [6.0 + 5.0]
        assert [head.weight.grad.item() for head in heads[:2]] == [2.0, 1.0]  # type: ignore[union-attr]
        assert heads[2].weight.grad is None


def test_what_is_not_finite_is_named() -> None:
    step = accumulator([1.0, 1.0, 1.0])
    step.add(losses(1.0, 2.0, 3.0), TOTALS, tokens=1)
    assert step.is_finite(torch.tensor(1.0)) and not step.is_finite(torch.tensor(torch.nan))
    with pytest.raises(NonFiniteError, match="found a gradient not finite at step 7: lower"):
        step.raise_nonfinite(7)
    step.losses[1:] = torch.inf
    assert not step.is_finite(torch.tensor(1.0))
    with pytest.raises(NonFiniteError, match="found b, c not finite at step 7: lower"):
        step.raise_nonfinite(7)


def test_what_is_logged() -> None:
    tensors = torch.tensor([2.0, 4.0, 0.0]), torch.tensor([0.5, 1.0, 1.0]), torch.tensor(3.0)
    metrics = StepMetrics(9, *tensors, finite=True, has_rows=(True, True, False), gradients=None)
    assert metrics.to_log({"a": 6, "b": 6, "c": 2}, global_batch_size=8) == {
        "train/a/weight": 0.5,
        "train/a/rows": 6.0,
        "train/a/share": 0.75,
        "train/a/loss": 2.0,
        "train/a/weighted_loss": 1.0,
        "train/b/weight": 1.0,
        "train/b/rows": 6.0,
        "train/b/share": 0.75,
        "train/b/loss": 4.0,
        "train/b/weighted_loss": 4.0,
        "train/c/weight": 1.0,
        "train/c/rows": 0.0,
        "train/c/share": 0.0,
        "train/loss": 5.0,
        "train/gradient_norm": 3.0,
    }
