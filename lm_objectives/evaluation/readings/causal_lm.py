"""The causal reading: each token from those before it."""

import numpy as np

from lm_objectives.evaluation.readings.base import (
    LanguageModelReading,
    Reading,
    Spans,
    TextRows,
    frame,
    make_view,
    whole_texts,
)
from lm_objectives.evaluation.readings.registry import readings_of
from lm_objectives.evaluation.texts import Texts
from lm_objectives.objectives import CausalLM
from lm_objectives.views import View, Vocabulary


class CausalReading(LanguageModelReading):
    """S = Σ_t ln p(s_t | bos, s_<t): the chain rule, in one pass (Warstadt et al. 2020, section 4.1).

    text     The   cat   sat
    input   [BOS]  The   cat   sat
    scored   The   cat   sat    ·
    """

    def rows(self, texts: Texts, vocabulary: Vocabulary) -> Spans:
        del vocabulary
        return whole_texts(texts)

    def view(self, rows: TextRows, vocabulary: Vocabulary) -> View:
        prefix, suffix = self.objective.corruption.prefix_and_suffix(vocabulary)
        ids, lengths = frame(rows.ids, rows.lengths, prefix, suffix, vocabulary.pad)
        ids = np.ascontiguousarray(ids[:, :-1])  # nothing is predicted from the last token
        return make_view(ids, lengths - 1, "causal", rows.flat(ids.shape[1], len(prefix) - 1), rows.targets)


@readings_of.register
def _(objective: CausalLM) -> dict[str, Reading]:
    return {"causal": CausalReading(objective)}
