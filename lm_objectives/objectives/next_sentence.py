"""Next-sentence prediction."""

from typing import Any

from lm_objectives.corruptions.next_sentence import NextSentencePairs
from lm_objectives.objectives.classification import SegmentPairObjective


class NextSentence(SegmentPairObjective):
    """Whether a second segment follows the first or comes from another document: L = −ln p(label), in nats per pair.

    BERT (Devlin et al. 2019, section 3.1, task 2). The head is BERT's: the first token's state through a dense layer
    and tanh, then two classes, 0 for the next segment and 1 for another one.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(corruption=NextSentencePairs(), **kwargs)

    def hf_names(self, family: str) -> dict[str, str]:
        return {"dense": "bert.pooler.dense", "classifier": "cls.seq_relationship"} if family == "bert" else {}
