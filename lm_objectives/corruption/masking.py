"""Masked tokens: exactly round(rate × maskable) positions of a row, chosen and changed by the row's key."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np

from lm_objectives.corruption.base import Attention, Corruption, Rows, View, Vocabulary, as_view
from lm_objectives.corruption.keyed import below, draw, uniform

_CHOOSE, _CHANGE, _REPLACE, _SAMPLE = range(4)  # what a random number is for
_EVALUATION_RATE = 0.15  # held-out rows are masked at this rate whatever a run trains with, so that runs compare


@lru_cache(maxsize=8)
def _ordinary(vocabulary: Vocabulary) -> np.ndarray:
    """Ids that are not special, ascending."""
    return np.setdiff1d(np.arange(vocabulary.size), np.array(vocabulary.special, dtype=np.int64))


def choose(rows: Rows, vocabulary: Vocabulary, rate: float, first: int = 0) -> np.ndarray:
    """Flat positions to mask, ascending: round(rate × maskable) of each row and at least one, special tokens never.

    Args:
        first: positions of a row before this one are never chosen.
    """
    time = rows.ids.shape[1]
    position = np.arange(time, dtype=np.uint64)
    maskable = ~np.isin(rows.ids, vocabulary.special) & (position >= first) & (position < rows.lengths[:, None])
    available = maskable.sum(axis=1)
    wanted = np.minimum(np.maximum(np.rint(rate * available).astype(np.int64), 1), available)
    low = np.uint64((1 << (time - 1).bit_length()) - 1)
    order = (draw(rows.keys[:, None], _CHOOSE, position) & ~low) | position  # distinct within a row
    order = np.where(maskable, order, np.iinfo(np.uint64).max)
    last = np.maximum(wanted - 1, 0)
    smallest = np.partition(order, np.unique(last), axis=1)
    threshold = np.take_along_axis(smallest, last[:, None], axis=1)
    return np.flatnonzero((order <= threshold) & (wanted > 0)[:, None] & maskable)


def mask(
    rows: Rows, vocabulary: Vocabulary, positions: np.ndarray, mask_share: float, random_share: float
) -> np.ndarray:
    """The rows' ids with the flat `positions` changed: to the mask token, to a random one, or not at all."""
    row, position = np.divmod(positions, rows.ids.shape[1])
    coin = uniform(draw(rows.keys[row], _CHANGE, position))
    ordinary = _ordinary(vocabulary)
    random = ordinary[below(draw(rows.keys[row], _REPLACE, position), len(ordinary))]
    ids = rows.ids.copy()
    original = ids.ravel()[positions]
    changed = np.where(coin < mask_share, vocabulary.mask, np.where(coin < mask_share + random_share, random, original))
    ids.ravel()[positions] = changed
    return ids


def check_rate(rate: float) -> None:
    """Raise where a mask rate is not a share strictly between nothing and everything."""
    if not 0 < rate < 1:
        raise ValueError(f"expected a mask_rate between 0 and 1, both excluded, found {rate}: 0.15 is BERT's")


@dataclass(frozen=True)
class TokenMasking(Corruption):
    """BERT's corruption (Devlin et al. 2019, section 3.1), with an exact count instead of a coin per token.

        text               [CLS] the  cat   sat    on  the  mat  [SEP]
        input              [CLS] the [MASK] sat    on  dog  mat  [SEP]
        target, "same"       ·    ·   cat    ·     ·   the   ·     ·
        target, "previous"   ·   cat   ·     ·    the   ·    ·     ·

    Attributes:
        rate: share of the maskable tokens that are scored, in (0, 1).
        mask_share: share of the scored tokens that the mask token replaces, in [0, 1].
        random_share: share of them that a random token replaces; the rest stay as they are.
        predict_from: whether a token is predicted at its own position, or at the one before it (masked next-token
            prediction: Charpentier and Samuel 2024, "GPT or BERT: why not both?", section 2).
    """

    rate: float = 0.15
    mask_share: float = 0.8
    random_share: float = 0.1
    predict_from: Literal["same", "previous"] = "same"

    def __post_init__(self) -> None:
        check_rate(self.rate)
        if min(self.mask_share, self.random_share) < 0 or self.mask_share + self.random_share > 1:
            raise ValueError(
                "expected mask_share and random_share of at least 0 with a sum of at most 1, found "
                f"{self.mask_share} and {self.random_share}: BERT's are 0.8 and 0.1"
            )

    def corrupt(self, rows: Rows, vocabulary: Vocabulary) -> View:
        back = int(self.predict_from == "previous")
        positions = choose(rows, vocabulary, self.rate, first=back)
        ids = mask(rows, vocabulary, positions, self.mask_share, self.random_share)
        targets = rows.ids.ravel()[positions]
        return as_view(rows, ids, self.attention, positions - back, targets, {"loss": len(positions)})

    def validating(self) -> "TokenMasking":
        return replace(self, rate=_EVALUATION_RATE)


@dataclass(frozen=True)
class TokenReplacement(Corruption):
    """The data half of ELECTRA (Clark et al. 2020, section 2): masked tokens, for a generator to fill in.

        text                  the   chef   cooked  the  meal
        input                [MASK] chef  [MASK]   the  meal
        target                the    ·    cooked    ·    ·
        after the generator   the   chef    ate    the  meal
        labels                 0      0      1      0    0

    Each masked position carries one uniform number, from which the generator samples by inverse CDF.

    Attributes:
        rate: share of the maskable tokens that are masked, in (0, 1).
        mask_share: share of those that the mask token replaces; the rest stay as they are.
    """

    rate: float = 0.15
    mask_share: float = 0.85
    attention: Attention = "bidirectional"

    def __post_init__(self) -> None:
        check_rate(self.rate)
        if not 0 <= self.mask_share <= 1:
            raise ValueError(f"expected a mask_share between 0 and 1, found {self.mask_share}: 0.85 is ELECTRA's")

    def corrupt(self, rows: Rows, vocabulary: Vocabulary) -> View:
        positions = choose(rows, vocabulary, self.rate)
        ids = mask(rows, vocabulary, positions, self.mask_share, 0.0)
        row, position = np.divmod(positions, rows.ids.shape[1])
        uniforms = uniform(draw(rows.keys[row], _SAMPLE, position))
        counts = {"generator": len(positions), "discriminator": int(rows.lengths.sum())}
        targets = rows.ids.ravel()[positions]
        return as_view(rows, ids, self.attention, positions, targets, counts, uniforms)

    def validating(self) -> "TokenReplacement":
        return replace(self, rate=_EVALUATION_RATE)
