"""Masked language modelling: exactly round(rate × units) tokens or words of each row are masked."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from lm_objectives.corruptions.base import Corruption, check_fraction
from lm_objectives.corruptions.random import randint, random_bits, uniform
from lm_objectives.corruptions.sampling import sample_spans, sample_subset
from lm_objectives.corruptions.span_lengths import SpanLengths
from lm_objectives.corruptions.windows import Frame
from lm_objectives.corruptions.word_units import Unit, is_ordinary, units_of
from lm_objectives.errors import InputError
from lm_objectives.ranges import is_within
from lm_objectives.schedules import Schedulable, check_schedulable, value_at
from lm_objectives.views import Rows, View, Vocabulary

_CHOOSE, _CHANGE = range(2)  # what a random number is for; corruptions.sampling has 4 and 5

VALIDATION_RATE = 0.15
"""Held-out rows are masked at this rate whatever a run trains with, so that runs compare."""


def sample_flat_positions(
    rows: Rows,
    vocabulary: Vocabulary,
    rate: Schedulable,
    first: int = 0,
    unit: Unit = "token",
    lengths: SpanLengths | None = None,
) -> np.ndarray:
    """Flat positions to mask, ascending: those of round(rate × units) units of each row and at least one.

    Args:
        rate: in (0, 1); one that moves over the training is resolved by `Corruption.at_step` before.
        first: positions of a document's part before this one are never chosen.
        unit: what is counted; special tokens belong to none.
        lengths: of the spans that are chosen, in units; a span may go on after special tokens. Single units, every set
            of them as likely, where it is `None`.
    """
    assert isinstance(rate, (int, float)), "a rate that moves is resolved by at_step(step, steps)"
    units = units_of(rows, vocabulary, unit, first)
    counts = units.counts
    wanted = mask_counts(rate, counts)
    if lengths is None:
        begins = sample_subset(rows.keys, _CHOOSE, units.begins, wanted)
        return np.flatnonzero(begins) if unit == "token" else units.positions(begins[units.begins])
    chosen = np.zeros(counts.sum(), dtype=bool)
    chosen[sample_spans(rows.keys, counts, wanted, lengths).units] = True
    return units.positions(chosen)


def sample_positions(rows: Rows, vocabulary: Vocabulary, rate: float) -> list[np.ndarray]:
    """Positions in each row of round(rate × tokens) of its tokens and at least one, ascending; special tokens never.

    A function of the row's key alone, so that a row is the same in any batch, worker and rank.

    >>> import numpy as np
    >>> from lm_objectives import Rows, Vocabulary, sample_positions
    >>> vocabulary = Vocabulary(size=10, pad=0, bos=1, eos=2, mask=3, special=(0, 1, 2, 3))
    >>> ids = np.array([[1, 5, 6, 7, 8, 2], [1, 9, 2, 0, 0, 0]])
    >>> rows = Rows(keys=np.arange(2, dtype=np.uint64), input_ids=ids, lengths=np.array([6, 3]))
    >>> [len(positions) for positions in sample_positions(rows, vocabulary, 0.5)]
    [2, 1]

    Args:
        rate: in (0, 1).
    """
    row, position = np.divmod(sample_flat_positions(rows, vocabulary, rate), rows.input_ids.shape[1])
    return np.split(position, np.searchsorted(row, np.arange(1, len(rows.input_ids))))


def mask_counts(rate: float, units: np.ndarray) -> np.ndarray:
    """round(rate × units), at least one where there is one, `(rows,)`."""
    return np.minimum(np.maximum(np.rint(rate * units).astype(np.int64), 1), units)


def apply_masks(
    rows: Rows, vocabulary: Vocabulary, positions: np.ndarray, mask_share: float, random_share: float
) -> np.ndarray:
    """The rows' ids with the flat `positions` changed: to the mask token, to a random one, or not at all."""
    row = positions // rows.input_ids.shape[1]
    position = positions - row * rows.input_ids.shape[1]  # several times as fast as divmod
    bits = random_bits(rows.keys, _CHANGE, position, row)
    coin = uniform(bits)
    ids, ordinary = rows.input_ids.copy(), np.flatnonzero(is_ordinary(vocabulary))
    tokens = ids.ravel()[positions]
    np.copyto(tokens, vocabulary.mask, where=coin < mask_share)
    random = np.flatnonzero((coin >= mask_share) & (coin < mask_share + random_share))
    tokens[random] = ordinary[randint(bits[random] << np.uint64(32), len(ordinary))]
    ids.ravel()[positions] = tokens
    return ids


def check_mask_rate(rate: float) -> None:
    """Raise where a mask rate is not strictly between 0 and 1."""
    check_fraction(rate, "mask_rate", "0.15 is BERT's")


@dataclass(frozen=True)
class TokenMasking(Corruption):
    """BERT's corruption (Devlin et al. 2019, section 3.1), with an exact count instead of a coin per token.

        text               [CLS] the  cat   sat    on  the  mat  [SEP]
        input              [CLS] the [MASK] sat    on  dog  mat  [SEP]
        target, "same"       ·    ·   cat    ·     ·   the   ·     ·
        target, "previous"   ·   cat   ·     ·    the   ·    ·     ·

    >>> import numpy as np
    >>> from lm_objectives import Rows, TokenMasking, Vocabulary
    >>> vocabulary = Vocabulary(size=16, pad=0, bos=1, eos=2, mask=3, special=(0, 1, 2, 3))
    >>> row = np.array([[1, 10, 11, 12, 13, 10, 14, 2]])
    >>> rows = Rows(keys=np.array([7], dtype=np.uint64), input_ids=row, lengths=np.array([8]))
    >>> view = TokenMasking(rate=0.3).corrupt(rows, vocabulary)  # 0.3 of 6 tokens, rounded
    >>> view.input_ids.tolist(), view.label_positions.tolist(), view.targets.tolist()
    ([[1, 3, 11, 12, 13, 3, 14, 2]], [1, 5], [10, 10])

    Attributes:
        rate: share of the maskable units that are scored, in (0, 1), or points that it follows over the training:
            [[0.0, 0.3], [1.0, 0.15]] is GPT-BERT's.
        mask_share: share of the scored tokens that the mask token replaces, in [0, 1].
        random_share: share of them that a random token replaces; the rest are not changed.
        predict_from: whether a token is predicted at its own position, or at the one before it (masked next-token
            prediction: Charpentier and Samuel 2024, "GPT or BERT: why not both?", section 2).
        unit: whether tokens are masked, or whole words.
        lengths: of the spans of units that are masked together; single units where it is `None`.
        frame: special tokens around the text of a row; never masked.
    """

    rate: Schedulable = 0.15
    mask_share: float = 0.8
    random_share: float = 0.1
    predict_from: Literal["same", "previous"] = "same"
    unit: Unit = "token"
    lengths: SpanLengths | None = None
    frame: Frame = "none"

    def __post_init__(self) -> None:
        check_schedulable(self.rate, check_mask_rate, "mask_rate")
        shares = (self.mask_share, self.random_share)
        if not all(is_within(share, 0, 1) for share in shares) or sum(shares) > 1:
            raise InputError(
                "expected mask_share and random_share of at least 0 with a sum of at most 1, found "
                f"{self.mask_share} and {self.random_share}: BERT's are 0.8 and 0.1"
            )

    def corrupt(self, rows: Rows, vocabulary: Vocabulary) -> View:
        back = int(self.predict_from == "previous")
        positions = sample_flat_positions(rows, vocabulary, self.rate, back, self.unit, self.lengths)
        ids = apply_masks(rows, vocabulary, positions, self.mask_share, self.random_share)
        targets = rows.input_ids.ravel()[positions]
        return rows.to_view(ids, self.attention, positions - back, targets, {"loss": len(positions)})

    def at_step(self, step: int, steps: int) -> "TokenMasking":
        return replace(self, rate=value_at(self.rate, step, steps, "mask_rate"))

    def for_validation(self) -> "TokenMasking":
        """Single tokens at 15 %, whatever units and rate a run trains with."""
        return replace(self, rate=VALIDATION_RATE, unit="token", lengths=None)
