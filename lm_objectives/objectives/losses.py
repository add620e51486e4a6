"""Loss, accuracy and samples of a head over the vocabulary, in chunks that never hold the logits of all positions.

Losses are sums of nats over scored positions; nothing here takes a mean: counts of a whole step come with the views.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

# Logits held at once: a chunk that stays in a CPU's cache, or one that keeps a GPU busy.
_CHUNK_ELEMENTS = {"cpu": 2**21, "cuda": 2**26}


TokenHead = tuple[Float[Tensor, "*scored features"], Float[Tensor, "vocab features"], Float[Tensor, " vocab"] | None]
"""States, weight and bias of logits = states · weightᵀ + bias; the bias may be `None`."""

_LARGEST_CHUNK = 4096  # a sum over more positions could leave half precision's range, whatever the loss scale


def _chunk(weight: Tensor) -> int:
    return min(max(_CHUNK_ELEMENTS.get(weight.device.type, 2**24) // len(weight), 32), _LARGEST_CHUNK)


class _LinearCrossEntropySum(torch.autograd.Function):
    """Cross-entropy of a vocabulary head, whose gradients are taken chunk by chunk while the logits are at hand.

    No logits are kept for the backward pass, and none are computed twice. Gradients of weight and bias are summed over
    the chunks in single precision at least, and rounded to the weights' own once, after the last.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        label_smoothing: float,
        z_loss: float,
    ) -> Tensor:
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        total = hidden.new_zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32))
        sums = torch.promote_types(weight.dtype, torch.float32)  # half would lose what is small beside the sum so far
        grad_hidden = torch.empty_like(hidden) if needs_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=sums) if needs_weight else None
        grad_bias = torch.zeros_like(bias, dtype=sums) if needs_bias and bias is not None else None
        size = _chunk(weight)
        for start in range(0, len(hidden), size):
            part, target = hidden[start : start + size], targets[start : start + size, None]
            logits = F.linear(part, weight, bias)
            compute = logits.dtype  # half under autocast
            logits = logits.to(total.dtype)
            partition = logits.logsumexp(dim=1, keepdim=True)
            total += (partition - (1 - label_smoothing) * logits.gather(1, target)).sum()
            if label_smoothing:
                total -= label_smoothing * logits.mean(dim=1).sum()
            gradient = logits.sub_(partition).exp_()
            if z_loss:
                total += z_loss * partition.square().sum()
                gradient.mul_(1 + 2 * z_loss * partition)
            if label_smoothing:
                gradient.sub_(label_smoothing / len(weight))
            gradient.scatter_add_(1, target, gradient.new_full((), label_smoothing - 1).expand(target.shape))
            if grad_bias is not None:
                grad_bias += gradient.sum(dim=0)
            gradient = gradient.to(compute)
            if grad_hidden is not None:
                grad_hidden[start : start + size] = gradient @ weight.to(compute)
            if grad_weight is not None:
                grad_weight += gradient.T @ part.to(compute)
        ctx.save_for_backward(grad_hidden, grad_weight, grad_bias)
        ctx.dtypes = hidden.dtype, weight.dtype, None if bias is None else bias.dtype
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        # At the precision of both: upstream in half, 1 over a count of positions, would be off for all of them alike.
        grads = [
            None if saved is None else (saved.to(torch.promote_types(saved.dtype, upstream.dtype)) * upstream).to(dtype)
            for saved, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        ]
        return (*grads, None, None, None)


def linear_cross_entropy_sum(
    head: TokenHead, targets: Int[Tensor, " scored"], label_smoothing: float = 0.0, z_loss: float = 0.0
) -> Float[Tensor, ""]:
    """Sum over scored positions of −ln softmax(z)[target], in nats, of the logits z of a head.

    >>> import torch
    >>> states, weight = torch.zeros(3, 2), torch.ones(5, 2)
    >>> linear_cross_entropy_sum((states, weight, None), torch.tensor([0, 1, 4]))  # 3 ln 5
    tensor(4.8283)

    Args:
        label_smoothing: ε, part of the target's probability that all tokens share (Szegedy et al. 2016, section 7):
            −(1 − ε) ln softmax(z)[target] − ε · mean over tokens of ln softmax(z).
        z_loss: c, of the term c · (ln Σ exp z)² that keeps logits near 0 (Chowdhery et al. 2022, section 5).
    """
    states, weight, bias = head
    if not torch.is_grad_enabled():  # the head would take gradients all the same
        weight, bias = weight.detach(), None if bias is None else bias.detach()
    return _LinearCrossEntropySum.apply(states, weight, bias, targets, label_smoothing, z_loss)


@torch.no_grad()
def token_log_probs(head: TokenHead, targets: Int[Tensor, " scored"]) -> Float[Tensor, " scored"]:
    """ln softmax(z)[target] at each scored position, in nats, of the logits z of a head; single precision at least.

    >>> import torch
    >>> token_log_probs((torch.zeros(2, 3), torch.ones(5, 3), None), torch.tensor([0, 4]))  # -ln 5
    tensor([-1.6094, -1.6094])
    """
    found = [-F.cross_entropy(logits, target, reduction="none") for logits, target in logits_in_chunks(head, targets)]
    return torch.cat(found) if found else head[0].new_zeros(0)


def logits_in_chunks(head: TokenHead, targets: Int[Tensor, " scored"]) -> Iterator[tuple[Tensor, Tensor]]:
    """The logits of some scored positions after others, and their targets; made in single precision at least."""
    states, weight, bias = head
    dtype = torch.promote_types(weight.dtype, torch.float32)
    on_cpu = weight.device.type == "cpu"
    size = max(_chunk(weight) // 8, 128) if on_cpu else _chunk(weight)  # fewer, where no gradients are made meanwhile
    weight, bias = weight.to(dtype), None if bias is None else bias.to(dtype)
    for part, target in zip(states.split(size), targets.split(size), strict=True):
        with torch.autocast(states.device.type, enabled=False):
            logits = F.linear(part.to(dtype), weight, bias)
        yield logits, target


@torch.no_grad()
def correct_predictions(head: TokenHead, targets: Int[Tensor, " scored"]) -> Float[Tensor, " scored"]:
    """1 where the likeliest token is the target and 0 elsewhere."""
    states, weight, bias = head
    likeliest = [F.linear(part, weight, bias).argmax(dim=1) for part in states.split(_chunk(weight))]
    return (torch.cat(likeliest) == targets).float() if likeliest else states.new_zeros(0)


@torch.no_grad()
def sample_tokens(head: TokenHead, uniforms: Float[Tensor, " scored"]) -> Int[Tensor, " scored"]:
    """A token for each position, drawn at temperature 1 by inverse CDF from one uniform number in [0, 1)."""
    states, weight, bias = head
    samples, size = [], _chunk(weight)
    for part, uniform in zip(states.split(size), uniforms.split(size), strict=True):
        logits = F.linear(part, weight, bias)
        cumulative = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(dim=1).cumsum(dim=1)
        reach = uniform[:, None].to(cumulative.dtype) * cumulative[:, -1:]  # rounding leaves the last short of 1
        samples.append(torch.searchsorted(cumulative, reach, right=True).squeeze(1).clamp_max(len(weight) - 1))
    return torch.cat(samples) if samples else uniforms.new_zeros(0, dtype=torch.long)
