"""The fused reading: what a causal and a masked reading of one head say together."""

from collections.abc import Mapping

import numpy as np

from lm_objectives.evaluation.readings.base import Reading, RowScorer, TextReading
from lm_objectives.evaluation.readings.causal_lm import CausalReading
from lm_objectives.evaluation.readings.masked_lm import MaskedReading
from lm_objectives.evaluation.texts import Texts


class FusedReading(TextReading):
    """S = S_causal + S_masked, of heads that both predict from the position before (Charpentier and Samuel 2024).

    No likelihood: each token counts twice.

    Args:
        causal, masked: the two.
    """

    def __init__(self, causal: CausalReading, masked: MaskedReading) -> None:
        super().__init__(masked.objective)
        self.causal, self.masked = causal, masked

    def log_probs(self, texts: Texts, scorer: RowScorer) -> np.ndarray:
        return self.causal.log_probs(texts, scorer) + self.masked.log_probs(texts, scorer)


def fuse(readings: Mapping[str, Reading]) -> dict[str, Reading]:
    """The fused reading, of one causal reading and one masked one that predicts from the position before."""
    causal = readings.get("causal")
    masked = [r for r in readings.values() if isinstance(r, MaskedReading) and r.back and not r.by_word]
    if isinstance(causal, CausalReading) and len(masked) == 1:
        return {"fused": FusedReading(causal, masked[0])}
    return {}
