"""BART's text infilling: one mask replaces each span of words, in a text of shuffled sentences."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch

from lm_objectives.corruptions.base import Corruption
from lm_objectives.corruptions.editing import insert_tokens
from lm_objectives.corruptions.masked_lm import check_mask_rate, mask_counts
from lm_objectives.corruptions.random import random_bits
from lm_objectives.corruptions.sampling import concatenated_ranges, sample_spans
from lm_objectives.corruptions.span_lengths import Poisson, SpanLengths
from lm_objectives.corruptions.windows import Frame
from lm_objectives.corruptions.word_units import Unit, units_of
from lm_objectives.views import Rows, View, Vocabulary

_ORDER = 0  # what a random number is for; corruptions.sampling has 4 and 5


@dataclass(frozen=True)
class TextInfilling(Corruption):
    """BART's corruption (Lewis et al. 2020, section 2.2): shuffled sentences, with one mask for each span of words.

        text                 [BOS]  It rained.  We stayed in all day.  [EOS]
        sentences permuted   [BOS]  We stayed in all day.  It rained.  [EOS]
        input                [BOS]  We [MASK] day.  It [MASK] rained.  [EOS]      spans of 3 words and of none
        target               [BOS]  It rained.  We stayed in all day.  [EOS]      written by a decoder, all of it scored

    Exactly round(rate × words) words are masked, in spans with lengths from a distribution; the last is cut to fit. A
    span of no words puts a mask between two words. A row has no more spans than masked words (spans of none are left
    out first), so that the input is never longer than the text. Sentences do not leave their row, nor rows their
    document. Special tokens are not moved.

    >>> import numpy as np
    >>> from lm_objectives import Rows, TextInfilling, Vocabulary
    >>> vocabulary = Vocabulary(size=16, pad=0, bos=1, eos=2, mask=3, special=(0, 1, 2, 3))
    >>> row = np.array([[1, 10, 11, 12, 13, 14, 15, 2]])
    >>> rows = Rows(np.array([7], dtype=np.uint64), row, np.array([8]), sentence_starts=(row == 10) | (row == 12))
    >>> view = TextInfilling(rate=0.3, unit="token").corrupt(rows, vocabulary)
    >>> view.input_ids.tolist(), view.decoder_labels.tolist()
    ([[1, 12, 13, 14, 15, 3, 2, 0]], [[1, 10, 11, 12, 13, 14, 15, 2]])

    Attributes:
        rate: share of the units that are masked, in (0, 1).
        lengths: of the spans, in units.
        unit: what is counted, tokens or whole words.
        permute_sentences: whether the sentences of a row are shuffled, each order as likely.
        frame: special tokens around the text of a row; they are not moved, and are predicted too.
    """

    rate: float = 0.3
    lengths: SpanLengths = field(default_factory=Poisson)
    unit: Unit = "word"
    permute_sentences: bool = True
    frame: Frame = "none"

    supports_packing: ClassVar[bool] = False
    needs_sentence_starts: ClassVar[bool] = True
    uses_decoder: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_mask_rate(self.rate)

    def corrupt(self, rows: Rows, vocabulary: Vocabulary) -> View:
        scored = np.flatnonzero(np.arange(rows.input_ids.shape[1]) < rows.lengths[:, None])
        targets = rows.input_ids.ravel()[scored]
        permuted = permute_sentences(rows, vocabulary) if self.permute_sentences else rows
        ids, lengths = infill(permuted, vocabulary, self.rate, self.lengths, self.unit)
        view = replace(rows, lengths=lengths).to_view(ids, self.attention, scored, targets, {"loss": len(scored)})
        return replace(view, decoder_labels=torch.from_numpy(rows.input_ids))


def permute_sentences(rows: Rows, vocabulary: Vocabulary) -> Rows:
    """Rows with their sentences shuffled; what comes before the first whole one counts as one."""
    assert rows.sentence_starts is not None
    time = rows.input_ids.shape[1]
    movable = np.flatnonzero(units_of(rows, vocabulary).maskable)
    row = movable // time
    starts = np.flatnonzero((np.diff(row, prepend=-1) > 0) | rows.sentence_starts.ravel()[movable])
    lengths, owner = np.diff(starts, append=len(movable)), row[starts]
    number = np.arange(len(starts)) - np.searchsorted(owner, owner)
    order = np.lexsort((random_bits(rows.keys, _ORDER, number, owner), owner))
    ids, sentences = rows.input_ids.copy(), np.zeros_like(rows.sentence_starts)
    ids.ravel()[movable] = rows.input_ids.ravel()[movable[concatenated_ranges(starts[order], lengths[order])]]
    ends = np.cumsum(lengths[order])
    sentences.ravel()[movable[ends - lengths[order]]] = True
    return replace(rows, input_ids=ids, sentence_starts=sentences)


def infill(
    rows: Rows, vocabulary: Vocabulary, rate: float, lengths: SpanLengths, unit: Unit
) -> tuple[np.ndarray, np.ndarray]:
    """Rows with one mask for each span of units, and their lengths."""
    units = units_of(rows, vocabulary, unit)
    counts, time = units.counts, rows.input_ids.shape[1]
    spans = sample_spans(rows.keys, counts, mask_counts(rate, counts), lengths, least=0)
    masked, masks = np.zeros(counts.sum(), dtype=bool), np.zeros(counts.sum(), dtype=np.int8)
    masked[spans.units] = True
    kept = np.arange(time) < rows.lengths[:, None]
    kept.ravel()[units.positions(masked)] = False
    # one mask for each span that no other continues, and one for each of no words
    masks[spans.units], masks[spans.continuing] = 1, 0
    masks[spans.empty] += 1
    marked = np.flatnonzero(masks)
    row, column = np.divmod(np.flatnonzero(units.begins)[np.repeat(marked, masks[marked])], time)
    return insert_tokens(rows.input_ids, kept, row, column, np.full(len(row), vocabulary.mask), time, vocabulary.pad)
