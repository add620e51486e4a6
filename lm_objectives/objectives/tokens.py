"""What objectives that predict tokens share: metrics and yardsticks over the vocabulary."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import MeanMetric, Metric

from lm_objectives.corruption.base import Vocabulary

YARDSTICKS = {"loss": ("uniform", "unigram"), "accuracy": ("commonest",)}


def token_metrics() -> dict[str, Metric]:
    """Accuracy, and what predictors without context reach: uniform and unigram in nats, the commonest token's share."""
    return {name: MeanMetric() for name in ("accuracy", "uniform", "unigram", "commonest")}


def unigram_of(vocabulary: Vocabulary) -> Float[Tensor, " vocab"]:
    """Nats of each token under the unigram model, or under the uniform one where there is none."""
    if vocabulary.unigram is None:
        return torch.full((vocabulary.size,), math.log(vocabulary.size))
    return torch.from_numpy(vocabulary.unigram).float()


def observe_tokens(
    correct: Float[Tensor, " scored"], targets: Int[Tensor, " scored"], unigram: Float[Tensor, " vocab"]
) -> dict[str, tuple[Tensor, ...]]:
    """Updates for `token_metrics`, one value for each scored position."""
    return {
        "accuracy": (correct,),
        "uniform": (torch.full_like(correct, math.log(len(unigram))),),
        "unigram": (unigram[targets],),
        "commonest": ((targets == unigram.argmin()).float(),),
    }
