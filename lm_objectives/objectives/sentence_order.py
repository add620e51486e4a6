"""Sentence-order prediction."""

import math
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchmetrics import Metric

from lm_objectives.corruptions.sentence_order import SentenceOrderPairs, Within
from lm_objectives.objectives.base import LossOutput, Objective
from lm_objectives.objectives.classification import pair_layers, pair_metrics, score_pairs
from lm_objectives.views import View, Vocabulary

if TYPE_CHECKING:
    from lm_objectives.backbone.backbone import Backbone


class SentenceOrder(Objective):
    """Whether two consecutive segments stand in their order or swapped, in nats per pair.

    ALBERT (Lan et al. 2020, section 3.1). What the head reads is dropped out before its last layer where the family's
    configuration says so (`classifier_dropout_prob`).

    Args:
        within: whether both segments come from one paragraph, or may lie across paragraphs of one document.
        pooling: what the head reads: `first`, the first token's state through a dense layer and tanh, as published;
            or `difference`, the difference of the two segments' mean states, which learns sooner in small models.
    """

    corruption: SentenceOrderPairs

    def __init__(
        self,
        within: Within = "paragraph",
        pooling: Literal["first", "difference"] = "first",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.corruption = SentenceOrderPairs(within)
        self.pooling = pooling

    def setup(self, backbone: "Backbone", vocabulary: Vocabulary) -> None:
        del vocabulary
        self.dense, self.classifier = pair_layers(backbone.dim, backbone.initializer_range)
        self.dropout = nn.Dropout(getattr(backbone.config, "classifier_dropout_prob", 0.0))

    def initial_loss(self) -> float:
        return math.log(2)

    def compute_loss(
        self, hidden: Float[Tensor, "rows time dim"], view: View, embedding: Float[Tensor, "vocab width"]
    ) -> LossOutput:
        del embedding
        pooled = self.dropout(torch.tanh(self.dense(self._pool(hidden, view))))
        return score_pairs(self.classifier(pooled), view, self.training)

    def _pool(self, hidden: Float[Tensor, "rows time dim"], view: View) -> Float[Tensor, "rows dim"]:
        if self.pooling == "first":
            return hidden[:, 0]
        assert view.token_type_ids is not None
        time = torch.arange(hidden.shape[1], device=hidden.device)
        second = view.token_type_ids.to(hidden.dtype)
        first = (time < view.lengths[:, None]).to(hidden.dtype) - second
        shares = first / first.sum(1, keepdim=True) - second / second.sum(1, keepdim=True)
        return torch.einsum("rt,rtd->rd", shares, hidden)

    def metrics(self) -> dict[str, Metric]:
        return pair_metrics()
