"""The masked readings: each token from all others, or from all but the rest of its word."""

from dataclasses import replace
from typing import Any

from lm_objectives.evaluation.readings.base import (
    LanguageModelReading,
    Reading,
    Spans,
    TextRows,
    TokenReading,
    frame,
    make_view,
    single_tokens,
    words,
)
from lm_objectives.evaluation.readings.registry import readings_of
from lm_objectives.evaluation.texts import Texts
from lm_objectives.objectives import MaskedLM
from lm_objectives.views import View, Vocabulary


class MaskingRows(TokenReading):
    """S = Σ_t ln p(s_t | s with s_t masked), the pseudo-log-likelihood (Salazar et al. 2020, equation 1).

        text     un   ##kind  cat
        rows    [BOS] [MASK]  ##kind  cat  [EOS]
                [BOS]   un    [MASK]  cat  [EOS]
                [BOS]   un    ##kind [MASK] [EOS]

    By word, the later tokens of a word are masked with each of its tokens, so that a word of several is not told by
    its own end (Kauf and Ivanova 2023, section 2): the first row is then [BOS] [MASK] [MASK] cat [EOS].

    Args:
        objective: whose head reads.
        by_word: whether later tokens of the word are masked too.
        back: how many positions before a token's own it is predicted from.
    """

    def __init__(self, objective: Any, by_word: bool = False, back: int = 0) -> None:
        super().__init__(objective)
        self.by_word, self.back = by_word, back
        self.held_out = None if by_word else "tokens"  # held-out rows mask single tokens

    def rows(self, texts: Texts, vocabulary: Vocabulary) -> Spans:
        tokens = single_tokens(texts)
        if not self.by_word:
            return tokens
        units = words(texts, vocabulary)
        return replace(tokens, hidden=units.stops.repeat(units.stops - units.starts))

    def view(self, rows: TextRows, vocabulary: Vocabulary) -> View:
        prefix, suffix = self.objective.corruption.prefix_and_suffix(vocabulary)
        ids, lengths = frame(rows.hide(vocabulary.mask), rows.lengths, prefix, suffix, vocabulary.pad)
        return make_view(ids, lengths, "bidirectional", rows.flat(ids.shape[1], len(prefix) - self.back), rows.targets)


class MaskedReading(LanguageModelReading, MaskingRows):
    """The masked reading by the head of a `MaskedLM`, at the token's own position or, as the objective has it, at the
    one before (Charpentier and Samuel 2024, section 2)."""


@readings_of.register
def _(objective: MaskedLM) -> dict[str, Reading]:
    back = int(objective.corruption.predict_from == "previous")
    names = {"masked": False, "masked_word": True}
    return {name: MaskedReading(objective, by_word, back) for name, by_word in names.items()}
