"""The infilling reading: each word written again from a text in which a mask stands for it."""

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
from lm_objectives.objectives import TextDenoising
from lm_objectives.views import View, Vocabulary


class InfillReading(LanguageModelReading):
    """S = Σ over words w of ln p(w | s before w, s with one mask for w), from left to right within the word.

        text     It  rained  all  day
        input    [BOS]  It  [MASK]  all  day  [EOS]
        target   [BOS]  It  rained  all  day  [EOS]      scored: rained

    BART's text infilling (Lewis et al. 2020, section 2.2) of each word: the decoder is given the text, and the word's
    tokens count.
    """

    predicts_text = False  # but sentinels, or the whole text

    def rows(self, texts: Texts, vocabulary: Vocabulary) -> Spans:
        return words(texts, vocabulary)

    def view(self, rows: TextRows, vocabulary: Vocabulary) -> View:
        pad = vocabulary.pad
        prefix, suffix = self.objective.corruption.prefix_and_suffix(vocabulary)
        source, lengths = frame(*rows.replace_span(vocabulary.mask, pad), prefix, suffix, pad)
        written, _ = frame(rows.ids, rows.lengths, prefix, suffix, pad)
        positions = rows.flat(written.shape[1], len(prefix))
        return make_view(source, lengths, "bidirectional", positions, rows.targets, decoder_labels=written)


@readings_of.register
def _(objective: TextDenoising) -> dict[str, Reading]:
    return {"infill": InfillReading(objective)}
