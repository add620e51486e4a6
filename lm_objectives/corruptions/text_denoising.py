"""BART's text infilling: runs of words give way to one mask each, in a document of shuffled sentences."""

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

_ORDER = 0  # what a random number is for; corruption.runs has 4 and 5


@dataclass(frozen=True)
class TextInfilling(Corruption):
    """BART's corruption (Lewis et al. 2020, section 2.2): sentences in another order, runs of words behind one mask.

        text                 [BOS]  It rained.  We stayed in all day.  [EOS]
        sentences permuted   [BOS]  We stayed in all day.  It rained.  [EOS]
        input                [BOS]  We [MASK] day.  It [MASK] rained.  [EOS]      runs of 3 words and of none
        target               [BOS]  It rained.  We stayed in all day.  [EOS]      written by a decoder, all of it scored

    Exactly round(rate × words) words go, in runs with lengths from a distribution; the last is cut to fit. A run of no
    words puts a mask between two words. A row has no more runs than words that go (runs of none are left out first),
    so that the input is never longer than the text. Sentences keep to their row, and a row to its document. Special
    tokens stay where they are.

    Attributes:
        rate: share of the units that go, in (0, 1).
        lengths: of the runs, in units.
        unit: what is counted, tokens or whole words.
        permute_sentences: whether the sentences of a row are put in another order, each order as likely.
        frame: what stands around the text of a row; it stays where it is, and is written too.
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
        clean = torch.from_numpy(rows.input_ids)
        scored = np.flatnonzero(np.arange(rows.input_ids.shape[1]) < rows.lengths[:, None])
        targets = rows.input_ids.ravel()[scored]
        if self.permute_sentences:
            rows = permute_sentences(rows, vocabulary)
        ids, lengths = infill(rows, vocabulary, self.rate, self.lengths, self.unit)
        view = replace(rows, lengths=lengths).to_view(ids, self.attention, scored, targets, {"loss": len(scored)})
        return replace(view, decoder_labels=clean)


def permute_sentences(rows: Rows, vocabulary: Vocabulary) -> Rows:
    """Rows whose sentences are in another order; what stands before the first whole one counts as one."""
    assert rows.sentence_starts is not None
    time = rows.input_ids.shape[1]
    movable = np.flatnonzero(units_of(rows, vocabulary).maskable)
    row = movable // time
    new = np.append(True, row[1:] != row[:-1])[: len(row)]
    starts = np.flatnonzero(new | rows.sentence_starts.ravel()[movable])
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
    """Rows with one mask for each run of units, and their lengths."""
    units = units_of(rows, vocabulary, unit)
    counts, time = units.counts, rows.input_ids.shape[1]
    runs = sample_spans(rows.keys, counts, mask_counts(rate, counts), lengths, least=0)
    gone, masks = np.zeros(counts.sum(), dtype=bool), np.zeros(counts.sum(), dtype=np.int8)
    gone[runs.held] = True
    stays = np.arange(time) < rows.lengths[:, None]
    stays.ravel()[units.positions(gone)] = False
    # one mask for each run that no other goes over, and one for each of no words
    masks[runs.held], masks[runs.over] = 1, 0
    masks[runs.empty] += 1
    marked = np.flatnonzero(masks)
    row, column = np.divmod(np.flatnonzero(units.begins)[np.repeat(marked, masks[marked])], time)
    return insert_tokens(rows.input_ids, stays, row, column, np.full(len(row), vocabulary.mask), time, vocabulary.pad)
