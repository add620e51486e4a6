"""Sentence-order prediction."""

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric

from lm_objectives.corruption.base import View, Vocabulary
from lm_objectives.corruption.pairs import SegmentPairs
from lm_objectives.objectives.base import Objective, Outcome, Yardsticks, mean_metric

if TYPE_CHECKING:
    from lm_objectives.backbone import Backbone


class SentenceOrder(Objective):
    """Whether two consecutive segments stand in their order or swapped, in nats per pair.

    ALBERT (Lan et al. 2020, section 3.1).

    Args:
        within: whether both segments come from one paragraph, or may lie across paragraphs of one document.
        pooling: what the head reads: `first`, the first token's state through a dense layer and tanh, as published;
            or `difference`, the difference of the two segments' mean states, which learns sooner in small models.
    """

    yardsticks: ClassVar[Yardsticks] = {"loss": ("coin",), "accuracy": ("majority",)}

    def __init__(
        self,
        within: Literal["paragraph", "document"] = "paragraph",
        pooling: Literal["first", "difference"] = "first",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.corruption = SegmentPairs(within)
        self.pooling = pooling

    def build(self, backbone: "Backbone", vocabulary: Vocabulary) -> None:
        del vocabulary
        self.dense = nn.Linear(backbone.dim, backbone.dim)
        self.classifier = nn.Linear(backbone.dim, 2)
        for layer in (self.dense, self.classifier):
            nn.init.normal_(layer.weight, std=backbone.initializer_range)
            nn.init.zeros_(layer.bias)

    def initial_loss(self) -> float:
        return math.log(2)

    def score(
        self, hidden: Float[Tensor, "rows time dim"], view: View, embedding: Float[Tensor, "vocab width"]
    ) -> Outcome:
        del embedding
        logits = self.classifier(torch.tanh(self.dense(self._pool(hidden, view))))
        sums = {
            "loss": F.cross_entropy(
                logits.float() if logits.dtype.itemsize < 4 else logits, view.targets, reduction="sum"
            )
        }
        if self.training:
            return Outcome(sums)
        correct = (logits.argmax(dim=1) == view.targets).float()
        swapped = view.targets.float()
        return Outcome(
            sums,
            {"accuracy": (correct,), "coin": (torch.full_like(correct, math.log(2)),), "majority": (swapped,)},
        )

    def _pool(self, hidden: Float[Tensor, "rows time dim"], view: View) -> Float[Tensor, "rows dim"]:
        if self.pooling == "first":
            return hidden[:, 0]
        assert view.segments is not None
        time = torch.arange(hidden.shape[1], device=hidden.device)
        second = view.segments.to(hidden.dtype)
        first = (time < view.lengths[:, None]).to(hidden.dtype) - second
        shares = first / first.sum(1, keepdim=True) - second / second.sum(1, keepdim=True)
        return torch.einsum("rt,rtd->rd", shares, hidden)

    def metrics(self) -> dict[str, Metric]:
        return {"accuracy": mean_metric(), "coin": mean_metric(), "majority": Majority(nan_strategy="disable")}


class Majority(MeanMetric):
    """Share of the commoner of two labels: the accuracy of always giving that one."""

    def compute(self) -> Tensor:
        rate = super().compute()
        return torch.maximum(rate, 1 - rate)
