"""Next-sentence prediction."""

from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from lm_objectives.corruptions.next_sentence import NextSentencePairs
from lm_objectives.objectives.classification import SegmentPairObjective, segment_difference
from lm_objectives.views import View


class NextSentence(SegmentPairObjective):
    """Whether a second segment follows the first or comes from another document: L = −ln p(label), in nats per pair.

    BERT (Devlin et al. 2019, section 3.1, task 2). The head is BERT's: the first token's state through a dense layer
    and tanh, then two classes, 0 for the next segment and 1 for another one.

    Args:
        pooling: what the head reads: `first`, the first token's state, as published; or `absolute_difference`,
            |u − v| of the two segments' mean states u and v, a part of what Sentence-BERT reads (u, v, |u − v|;
            Reimers and Gurevych 2019, section 3), which learns sooner in small models.
    """

    poolings = ("first", "absolute_difference")

    def __init__(self, pooling: Literal["first", "absolute_difference"] = "first", **kwargs: Any) -> None:
        super().__init__(NextSentencePairs(), pooling, **kwargs)

    def pool(self, hidden: Float[Tensor, "rows time dim"], view: View) -> Float[Tensor, "labels dim"]:
        return super().pool(hidden, view) if self.pooling == "first" else segment_difference(hidden, view).abs()

    def hf_names(self, family: str) -> dict[str, str]:
        exists = family == "bert" and self.pooling == "first"
        return {"dense": "bert.pooler.dense", "classifier": "cls.seq_relationship"} if exists else {}
