"""Sentence-order prediction."""

from typing import TYPE_CHECKING, Any, Literal

from jaxtyping import Float
from torch import Tensor, nn

from lm_objectives.corruptions.sentence_order import SentenceOrderPairs, Within
from lm_objectives.objectives.classification import SegmentPairObjective, segment_difference
from lm_objectives.views import View, Vocabulary

if TYPE_CHECKING:
    from lm_objectives.backbone.backbone import Backbone


class SentenceOrder(SegmentPairObjective):
    """Whether two consecutive segments stand in their order or swapped, in nats per pair.

    ALBERT (Lan et al. 2020, section 3.1). What the head reads is dropped out before its last layer where the family's
    configuration says so (`classifier_dropout_prob`).

    Args:
        within: whether both segments come from one paragraph, or may lie across paragraphs of one document.
        pooling: what the head reads: `first`, the first token's state through a dense layer and tanh, as published;
            or `difference`, the difference of the two segments' mean states, which learns sooner in small models.
    """

    corruption: SentenceOrderPairs
    poolings = ("first", "difference")

    def __init__(
        self, within: Within = "paragraph", pooling: Literal["first", "difference"] = "first", **kwargs: Any
    ) -> None:
        super().__init__(SentenceOrderPairs(within), pooling, **kwargs)

    def setup(self, backbone: "Backbone", vocabulary: Vocabulary) -> None:
        super().setup(backbone, vocabulary)
        self.dropout = nn.Dropout(getattr(backbone.config, "classifier_dropout_prob", 0.0))

    def pool(self, hidden: Float[Tensor, "rows time dim"], view: View) -> Float[Tensor, "labels dim"]:
        return super().pool(hidden, view) if self.pooling == "first" else segment_difference(hidden, view)

    def hf_names(self, family: str) -> dict[str, str]:
        exists = family == "albert" and self.pooling == "first"
        return {"dense": "albert.pooler", "classifier": "sop_classifier.classifier"} if exists else {}
