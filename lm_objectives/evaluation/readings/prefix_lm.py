"""The prefix reading: a context seen both ways, and the tokens after it one by one."""

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
from lm_objectives.objectives import PrefixLM
from lm_objectives.views import View, Vocabulary


class PrefixReading(LanguageModelReading):
    """S = Σ_t ln p(s_t | context, s_<t), the context seen both ways (Raffel et al. 2020, section 3.2.1).

    Where an encoder reads and a decoder writes, the encoder has the context. A text without one has bos as its context.
    """

    def rows(self, texts: Texts, vocabulary: Vocabulary) -> Spans:
        del vocabulary
        return whole_texts(texts)

    def view(self, rows: TextRows, vocabulary: Vocabulary) -> View:
        corruption, pad, starts = self.objective.corruption, vocabulary.pad, rows.spans.starts
        prefix, _ = corruption.prefix_and_suffix(vocabulary)
        if not corruption.uses_decoder:
            ids, lengths = frame(rows.ids, rows.lengths, prefix, (), pad)
            positions = rows.flat(ids.shape[1], len(prefix) - 1)
            return make_view(ids, lengths, "prefix", positions, rows.targets, len(prefix) + starts)
        context = np.where(np.arange(rows.ids.shape[1]) < starts[:, None], rows.ids, pad)
        source, lengths = frame(context[:, : int(starts.max(initial=0))], starts, prefix, (), pad)
        written, counts = rows.hidden_tokens(pad)
        positions = np.flatnonzero(np.arange(written.shape[1]) < counts[:, None])
        return make_view(source, lengths, "bidirectional", positions, rows.targets, decoder_labels=written)


@readings_of.register
def _(objective: PrefixLM) -> dict[str, Reading]:
    return {"prefix": PrefixReading(objective)}
