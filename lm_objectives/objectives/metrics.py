"""Metrics over held-out rows: means, and baselines of constant predictions."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor
from torchmetrics import Metric

from lm_objectives.errors import expect


class Mean(Metric):
    """Σ weight · value / Σ weight; a NaN among the values shows instead of being left out.

    torchmetrics' MeanMetric (1.9) adds up in half precision, to infinity, in a module that was moved to it.
    """

    total: Tensor
    weight: Tensor
    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("weight", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, value: Tensor, weight: Tensor | float | int = 1) -> None:
        """Add values of any shape, each with its weight, or all with the same; in single precision at least."""
        dtype = torch.promote_types(value.dtype, torch.float32)
        weights = torch.as_tensor(weight, dtype=dtype, device=value.device).expand(value.shape)
        self.total = self.total + (value.to(dtype) * weights).sum()
        self.weight = self.weight + weights.sum()

    def compute(self) -> Tensor:
        """The mean; NaN of nothing."""
        return self.total / self.weight


class ConstantNats(Mean):
    """Cross-entropy of targets under the add-one frequencies of counted ones, in nats per target.

    -ln((n + 1) / (N + V)) for a target that was counted n times, N the sum of the V counts; ln V where nothing was
    counted. A target beyond them was counted 0 times.

    Args:
        counts: how often each target came in training rows, `(targets,)`.
    """

    def __init__(self, counts: Int[Tensor, " targets"]) -> None:
        super().__init__()
        self.counts = counts  # no buffer: DDP would broadcast it in each step
        self.log_all = math.log(int(counts.sum()) + len(counts))

    def update(self, value: Tensor, weight: Tensor | float | int = 1) -> None:
        """Add targets."""
        self.counts = self.counts.to(value.device)
        counted = self.counts[value.clamp(max=len(self.counts) - 1)] * (value < len(self.counts))
        super().update(self.log_all - (counted + 1).float().log(), weight)


class ConstantPerplexity(ConstantNats):
    """exp of the cross-entropy of `ConstantNats`."""

    def compute(self) -> Tensor:
        return super().compute().exp()


class ConstantAccuracy(Mean):
    """Share of targets that are the one counted most often, the lowest of several.

    Args:
        counts: as of `ConstantNats`.
    """

    def __init__(self, counts: Int[Tensor, " targets"]) -> None:
        super().__init__()
        self.commonest = int((counts == counts.max()).nonzero()[0])

    def update(self, value: Tensor, weight: Tensor | float | int = 1) -> None:
        """Add targets."""
        super().update((value == self.commonest).float(), weight)


def over_vocabulary(counts: Int[Tensor, " targets"] | None, vocab: int) -> Int[Tensor, " vocab"]:
    """How often each token of the vocabulary is a target; 0 where nothing was counted."""
    if counts is None:
        return torch.zeros(vocab, dtype=torch.long, device="cpu")
    mend = "give an objective whose targets are classes ClassificationObjective as its base"
    expect(len(counts) <= vocab, f"targets that are tokens, below {vocab}", f"{len(counts) - 1} among them", mend)
    return F.pad(counts, (0, vocab - len(counts)))


def token_baselines(counts: Int[Tensor, " targets"] | None, vocab: int) -> dict[str, Metric]:
    """Those of targets that are tokens.

    `uniform`, and where targets were counted `unigram` in nats, its perplexity, and `commonest`, an accuracy. A token
    that is never a target, as bos and pad are, has the weight of the smoothing alone.
    """
    uniform = {"uniform": ConstantNats(over_vocabulary(None, vocab))}
    if counts is None:
        return {**uniform}
    tokens = over_vocabulary(counts, vocab)
    return {
        **uniform,
        "unigram": ConstantNats(tokens),
        "unigram_perplexity": ConstantPerplexity(tokens),
        "commonest": ConstantAccuracy(tokens),
    }
