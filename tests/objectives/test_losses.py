"""Sums of nats against `F.cross_entropy` over whole logits, and samples against the softmax."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lm_objectives.objectives import losses as scoring
from lm_objectives.objectives.losses import (
    TokenHead,
    correct_predictions,
    linear_cross_entropy_sum,
    sample_tokens,
)

DIM, VOCAB = 6, 37


def problem(count: int, dtype: torch.dtype, bias: bool = True) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Hidden states, weight, targets and bias."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(count, DIM, generator=generator, dtype=torch.double).to(dtype).requires_grad_()
    weight = torch.randn(VOCAB, DIM, generator=generator, dtype=torch.double).to(dtype).requires_grad_()
    offset = torch.randn(VOCAB, generator=generator, dtype=torch.double).to(dtype).requires_grad_() if bias else None
    return hidden, weight, torch.randint(VOCAB, (count,), generator=generator), offset


def oracle(head: TokenHead, targets: Tensor) -> Tensor:
    hidden, weight, bias = head
    return F.cross_entropy(F.linear(hidden, weight, bias), targets, reduction="sum")


def with_gradients(loss: Callable[..., Tensor], count: int, dtype: torch.dtype, bias: bool = True) -> list[Tensor]:
    hidden, weight, targets, offset = problem(count, dtype, bias)
    value = loss((hidden, weight, offset), targets)
    leaves = [tensor for tensor in (hidden, weight, offset) if tensor is not None]
    return [value.detach(), *torch.autograd.grad(0.3 * value, leaves)]


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_chunk", lambda weight: 32)


def test_a_chance_of_three_tenths_is_1_203973_nats() -> None:
    """Oracle: -ln .3."""
    logits = torch.tensor([[0.1, 0.2, 0.3, 0.4]], dtype=torch.double).log()
    nats = linear_cross_entropy_sum((logits, torch.eye(4, dtype=torch.double), None), torch.tensor([2]))
    assert nats.item() == pytest.approx(1.203973, abs=1e-6)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("count", [1, 31, 32, 33, 64, 100])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
@pytest.mark.usefixtures("small_chunks")
def test_is_cross_entropy(dtype: torch.dtype, tolerance: float, count: int, bias: bool) -> None:
    ours, theirs = (with_gradients(loss, count, dtype, bias) for loss in (linear_cross_entropy_sum, oracle))
    for own, other in zip(ours, theirs, strict=True):
        assert own.dtype == dtype
        torch.testing.assert_close(own, other, rtol=tolerance, atol=tolerance)


@pytest.mark.usefixtures("small_chunks")
def test_gradients_are_those_of_the_values() -> None:
    """Oracle: finite differences."""
    hidden, weight, targets, bias = problem(40, torch.float64)
    assert torch.autograd.gradcheck(lambda *head: linear_cross_entropy_sum(head, targets), (hidden, weight, bias))


@pytest.mark.usefixtures("small_chunks")
def test_only_asked_for_gradients_are_made() -> None:
    hidden, weight, targets, bias = problem(40, torch.float64)
    assert not linear_cross_entropy_sum((hidden.detach(), weight.detach(), None), targets).requires_grad
    whole = with_gradients(linear_cross_entropy_sum, 40, torch.float64)
    [alone] = torch.autograd.grad(0.3 * linear_cross_entropy_sum((hidden, weight.detach(), bias), targets), [hidden])
    assert torch.equal(alone, whole[1])


def test_nothing_to_score_is_zero_with_zero_gradients() -> None:
    value, *gradients = with_gradients(linear_cross_entropy_sum, 0, torch.float32)
    assert value == 0
    assert [gradient.abs().sum().item() for gradient in gradients] == [0, 0, 0]
    hidden, weight, targets, bias = problem(0, torch.float32)
    assert correct_predictions((hidden, weight, bias), targets).shape == (0,)
    assert sample_tokens((hidden, weight, bias), torch.zeros(0)).shape == (0,)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.usefixtures("small_chunks")
def test_half_precision_under_autocast(dtype: torch.dtype) -> None:
    """Oracle: the same in single precision; a product in half is off by its epsilon."""
    theirs = with_gradients(oracle, 100, torch.float32)
    with torch.autocast("cpu", dtype):
        ours = with_gradients(linear_cross_entropy_sum, 100, torch.float32)
    for own, other in zip(ours, theirs, strict=True):
        assert own.dtype == torch.float32
        assert (own - other).norm() < 2 * torch.finfo(dtype).eps * other.norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_throughout_sums_in_single(dtype: torch.dtype) -> None:
    hidden, weight, targets, bias = problem(100, dtype)
    value = linear_cross_entropy_sum((hidden, weight, bias), targets)
    assert value.dtype == torch.float32
    theirs = oracle((hidden.float(), weight.float(), bias.float()), targets)  # type: ignore[union-attr]
    assert value.item() == pytest.approx(theirs.item(), rel=2 * torch.finfo(dtype).eps)


@pytest.mark.parametrize(("label_smoothing", "z_loss"), [(0.0, 0.0), (0.1, 1e-3)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.usefixtures("small_chunks")
def test_half_precision_throughout_adds_up_as_one_product_does(
    dtype: torch.dtype, label_smoothing: float, z_loss: float
) -> None:
    """Oracle: double precision on the same numbers, over 128 chunks of targets by Zipf; peer: whole logits in half.

    A mean over positions, whose factor bfloat16 does not hold: rounded to it, all gradients would be .2 % off.
    """
    count, dim, vocab = 4096, 32, 512
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(n, dim, generator=generator).to(dtype) for n in (count, vocab))
    weight, bias = weight * 0.25, torch.zeros(vocab, dtype=dtype)
    targets = torch.multinomial(1 / torch.arange(1, vocab + 1.0), count, replacement=True, generator=generator)
    factor = 1 / 4090  # bfloat16 has 1/4088 and 1/4096

    def whole(head: TokenHead, targets: Tensor) -> Tensor:
        """What transformers' heads do, in half precision as in double."""
        logits = F.linear(*head)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        nats = F.cross_entropy(logits, targets, reduction="sum", label_smoothing=label_smoothing)
        return nats + z_loss * logits.logsumexp(1).square().sum()

    def gradients(loss: Callable[..., Tensor], dtype: torch.dtype) -> list[Tensor]:
        leaves = [tensor.to(dtype).requires_grad_() for tensor in (hidden, weight, bias)]
        value = loss(tuple(leaves), targets)
        found = torch.autograd.grad(factor * value, leaves)
        assert [gradient.dtype for gradient in found] == [dtype] * 3
        return [value.detach().double(), *(gradient.double() for gradient in found)]

    exact = gradients(whole, torch.float64)
    peers = [(peer - right).norm() / right.norm() for peer, right in zip(gradients(whole, dtype), exact, strict=True)]
    ours = gradients(lambda head, targets: linear_cross_entropy_sum(head, targets, label_smoothing, z_loss), dtype)
    for own, right, peer in zip(ours, exact, peers, strict=True):
        error = (own - right).norm() / right.norm()
        assert error < max(0.003, 1.5 * peer)


def test_half_precision_does_not_overflow_over_many_positions() -> None:
    """Oracle: the gradient of one token's row is Σ(p - y)h = -60,000 positions x 3/4 x 2, beyond half's 65,504."""
    hidden, weight = torch.full((60_000, 2), 2.0), torch.zeros(4, 2, requires_grad=True)
    with torch.autocast("cpu", torch.float16):
        linear_cross_entropy_sum((hidden, weight, None), torch.zeros(60_000, dtype=torch.long)).backward()
    assert weight.grad is not None
    assert weight.grad[0].tolist() == pytest.approx([-90_000] * 2, rel=1e-2)


def test_large_logits_do_not_overflow() -> None:
    hidden, weight = torch.tensor([[1e4]], requires_grad=True), torch.tensor([[1.0], [-1.0]])
    value = linear_cross_entropy_sum((hidden, weight, None), torch.tensor([1]))
    value.backward()
    assert value.item() == pytest.approx(2e4)
    assert hidden.grad is not None and hidden.grad.isfinite().all()


@pytest.mark.usefixtures("small_chunks")
def test_correct_is_the_argmax() -> None:
    hidden, weight, targets, bias = problem(100, torch.float32)
    oracle = (F.linear(hidden, weight, bias).argmax(1) == targets).float()
    assert torch.equal(correct_predictions((hidden, weight, bias), targets), oracle)
    assert 0 < oracle.sum() < 100


@pytest.mark.usefixtures("small_chunks")
def test_samples_follow_the_softmax() -> None:
    """Oracle: with a regular grid of n numbers each token comes n·p times, up to one."""
    hidden, weight, _, bias = problem(1, torch.float32)
    grid = (torch.arange(4096) + 0.5) / 4096
    samples = sample_tokens((hidden.expand(4096, -1), weight, bias), grid)
    chances = F.linear(hidden, weight, bias).softmax(1)[0].detach()
    assert (torch.bincount(samples, minlength=VOCAB) - 4096 * chances).abs().max() < 1.01


def test_samples_at_both_ends() -> None:
    weight = torch.tensor([[0.0], [0.0], [0.0]])
    uniforms = torch.tensor([0.0, 1 / 3 - 1e-3, 1 / 3 + 1e-3, 1 - 2**-24])
    assert sample_tokens((torch.ones(4, 1), weight, None), uniforms).tolist() == [0, 0, 1, 2]


def test_impossible_tokens_are_never_drawn() -> None:
    bias = torch.tensor([-math.inf, 0.0, -math.inf])
    samples = sample_tokens((torch.ones(3, 1), torch.zeros(3, 1), bias), torch.tensor([0.0, 0.5, 1 - 2**-24]))
    assert samples.tolist() == [1, 1, 1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_samples_in_half_precision_reach_late_tokens(dtype: torch.dtype) -> None:
    """Oracle: sums of chances in half would stop growing: of 4,096 equal tokens each comes once."""
    grid = (torch.arange(4096) + 0.5) / 4096
    samples = sample_tokens((torch.zeros(4096, 1, dtype=dtype), torch.zeros(4096, 1, dtype=dtype), None), grid)
    assert samples.tolist() == list(range(4096))


def test_sampling_has_no_gradient() -> None:
    hidden, weight, _, bias = problem(5, torch.float32)
    assert not sample_tokens((hidden, weight, bias), torch.rand(5)).requires_grad
