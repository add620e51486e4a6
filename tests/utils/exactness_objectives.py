"""Objectives that make exactness hard: counts from 1 to a whole row, and losses that are not finite."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.corruptions.base import Corruption
from lm_objectives.corruptions.random import random_bits, uniform
from lm_objectives.objectives.base import LossOutput, Objective
from lm_objectives.objectives.losses import linear_cross_entropy_sum
from lm_objectives.views import Attention, Rows, View, Vocabulary, gather_positions

Poison = Literal["nan", "inf", "gradient"]


def next_tokens(rows: Rows, scored: np.ndarray) -> View:
    """A causal view whose loss is over the next token at these flat positions."""
    return rows.to_view(rows.input_ids, "causal", scored, rows.input_ids.ravel()[scored + 1], {"loss": len(scored)})


@dataclass(frozen=True)
class UnequalCounts(Corruption):
    """Next token at the first n positions of a row alone, n from 1 to all of them, its logarithm uniform by key."""

    attention: Attention = "causal"

    def corrupt(self, rows: Rows, vocabulary: Vocabulary) -> View:
        del vocabulary
        most = np.maximum(rows.lengths - 1, 1)
        size = uniform(random_bits(rows.keys, 0, np.zeros(len(rows.keys), dtype=np.uint64)))
        scored_of = np.minimum(np.exp(size * np.log(most)), rows.lengths - 1)
        return next_tokens(rows, np.flatnonzero(np.arange(rows.input_ids.shape[1])[None] < scored_of[:, None]))


class UnequalTokens(Objective):
    """The next token, with an own head, over counts that differ by a factor of up to the window."""

    def __init__(self, share: float = 1.0, shares_rows_with: str | None = None) -> None:
        super().__init__(share, shares_rows_with)
        self.corruption = UnequalCounts()

    def setup(self, backbone: Backbone, vocabulary: Vocabulary) -> None:
        self.head = nn.Linear(backbone.dim, vocabulary.size)

    def initial_loss(self) -> float:
        return math.log(self.head.out_features)

    def compute_loss(self, hidden: Tensor, view: View, embedding: Tensor) -> LossOutput:
        del embedding
        states = gather_positions(hidden, view.label_positions)
        return LossOutput({"loss": linear_cross_entropy_sum((states, self.head.weight, self.head.bias), view.targets)})


@dataclass(frozen=True)
class SilentCounts(Corruption):
    """Next token at the first position of each row alone, and in steps 0, 2, … nowhere."""

    attention: Attention = "causal"
    silent: bool = False

    def at_step(self, step: int, steps: int) -> Corruption:
        del steps
        return replace(self, silent=step % 2 == 0)

    def corrupt(self, rows: Rows, vocabulary: Vocabulary) -> View:
        del vocabulary
        return next_tokens(rows, np.arange(0 if self.silent else len(rows.input_ids)) * rows.input_ids.shape[1])


class SilentTokens(UnequalTokens):
    """The next token of each row's first, and in steps 0, 2, … of none."""

    def __init__(self, share: float = 1.0, shares_rows_with: str | None = None) -> None:
        super().__init__(share, shares_rows_with)
        self.corruption = SilentCounts()


class Poisoned(UnequalTokens):
    """The next token; at one call of `score` its loss, or only the gradient of it, is not finite.

    Args:
        kind: what goes wrong; `gradient` leaves the loss as it is.
        at: the call, from 0.
        rank: the one rank on which it happens.
    """

    def __init__(self, kind: Poison, at: int, rank: int = 0, share: float = 1.0) -> None:
        super().__init__(share)
        self.kind, self.at, self.rank, self.calls = kind, at, rank, 0

    def compute_loss(self, hidden: Tensor, view: View, embedding: Tensor) -> LossOutput:
        nats = super().compute_loss(hidden, view, embedding).loss_sums["loss"]
        here = self.rank == (dist.get_rank() if dist.is_initialized() else 0)
        if here and self.calls == self.at:
            nats = nats + torch.sqrt(nats * 0) if self.kind == "gradient" else nats * float(self.kind)
        self.calls += 1
        return LossOutput({"loss": nats})


class GivenNats(Objective):
    """Nats that the targets themselves say, times a parameter that starts at 1."""

    def __init__(self) -> None:
        super().__init__()
        self.corruption = UnequalCounts()

    def setup(self, backbone: Backbone, vocabulary: Vocabulary) -> None:
        del backbone, vocabulary
        self.factor = nn.Parameter(torch.ones(()))

    def initial_loss(self) -> float:
        return 1.0

    def compute_loss(self, hidden: Tensor, view: View, embedding: Tensor) -> LossOutput:
        del embedding
        return LossOutput({"loss": view.targets.sum() * self.factor + 0 * hidden.sum()})
