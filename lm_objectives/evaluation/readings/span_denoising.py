"""The span reading: each word written in place of a sentinel."""

import numpy as np

from lm_objectives.evaluation.readings.base import (
    LanguageModelReading,
    Reading,
    Spans,
    TextRows,
    frame,
    make_view,
    words,
)
from lm_objectives.evaluation.readings.registry import readings_of
from lm_objectives.evaluation.texts import Texts
from lm_objectives.objectives import SpanDenoising
from lm_objectives.views import View, Vocabulary


class SpanReading(LanguageModelReading):
    """S = Σ over words w of ln p(w | s with a sentinel for w), from left to right within the word.

        text     Thank   you   very  ##much
        input    Thank   you   <extra_id_0>  [EOS]
        target   <extra_id_0>  very  ##much              scored: very ##much

    T5's own question (Raffel et al. 2020, section 3.1.4) asked of each word, as a pseudo-likelihood.
    """

    predicts_text = False  # but sentinels, or the whole text

    def rows(self, texts: Texts, vocabulary: Vocabulary) -> Spans:
        return words(texts, vocabulary)

    def view(self, rows: TextRows, vocabulary: Vocabulary) -> View:
        corruption, pad = self.objective.corruption, vocabulary.pad
        sentinel = int(vocabulary.token_ids(["<extra_id_0>"])[0])
        prefix, suffix = corruption.prefix_and_suffix(vocabulary)
        source, lengths = frame(*rows.replace_span(sentinel, pad), prefix, suffix, pad)
        written, counts = frame(*rows.hidden_tokens(pad), (sentinel,), (), pad)
        place = np.arange(written.shape[1])
        scored = (place > 0) & (place < counts[:, None])
        if corruption.uses_decoder:
            positions = np.flatnonzero(scored)
            return make_view(source, lengths, "bidirectional", positions, rows.targets, decoder_labels=written)
        time = source.shape[1] + written.shape[1]
        ids = np.full((len(source), time), pad, dtype=np.int64)
        ids[:, : source.shape[1]] = source
        row, column = np.nonzero(place < counts[:, None])
        ids[row, lengths[row] + column] = written[row, column]
        row, column = np.nonzero(scored)
        positions = row * time + lengths[row] + column - 1
        return make_view(ids, lengths + counts, "prefix", positions, rows.targets, lengths)


@readings_of.register
def _(objective: SpanDenoising) -> dict[str, Reading]:
    return {"spans": SpanReading(objective)}
