"""The units that masking counts and chooses: tokens, or whole words."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from lm_objectives.corruptions.sampling import count_rows
from lm_objectives.errors import InputError
from lm_objectives.views import Rows, Vocabulary

Unit = Literal["token", "word"]


@dataclass(frozen=True)
class Units:
    """The units of some rows, numbered from the first of the first row to the last of the last.

        row       [CLS] the  un  ##kind  cat  [SEP]
        maskable    ·    x    x    x      x     ·
        begins      ·    x    x    ·      x     ·       by words; by tokens it is what is maskable

    Attributes:
        maskable: tokens that belong to a unit, `(rows, time)`.
        begins: the first token of each unit, `(rows, time)`.
    """

    maskable: np.ndarray
    begins: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Units of each row, `(rows,)`."""
        return count_rows(self.begins)

    def positions(self, chosen: np.ndarray) -> np.ndarray:
        """Flat positions, ascending, of all tokens of the units that are `chosen`, `(units,)`."""
        tokens = np.flatnonzero(self.maskable)
        return tokens[chosen[np.cumsum(self.begins.ravel()[tokens]) - 1]]


@lru_cache(maxsize=8)
def is_ordinary(vocabulary: Vocabulary) -> np.ndarray:
    """Which ids are no special tokens, `(vocab,)`."""
    table = np.ones(vocabulary.size, dtype=bool)
    table[list(vocabulary.special)] = False
    return table


def units_of(rows: Rows, vocabulary: Vocabulary, unit: Unit = "token", first: int = 0) -> Units:
    """The units of rows; special tokens and padding belong to none.

    A word also begins at the start of a row, of a document's part and of a sentence that is marked, and after a
    special token, so that a word which the window cuts is one of its own; and after a line break.

    Args:
        first: tokens of a document's part before this one belong to no unit.

    Raises:
        InputError: for words, where the vocabulary does not know where they start.
    """
    place = np.arange(rows.input_ids.shape[1])
    maskable = is_ordinary(vocabulary)[rows.input_ids]
    if (rows.lengths < len(place)).any():
        maskable &= place < rows.lengths[:, None]
    if first:
        maskable &= (place if rows.position_ids is None else rows.position_ids) >= first
    if unit == "token":
        return Units(maskable, maskable)
    if vocabulary.starts_word is None:
        raise InputError("expected a vocabulary that says where words start, found none: choose unit token")
    begins = vocabulary.starts_word[rows.input_ids]
    begins[:, 0] = True
    begins[:, 1:] |= ~maskable[:, :-1]
    if vocabulary.breaks_line is not None:
        begins[:, 1:] |= vocabulary.breaks_line[rows.input_ids[:, :-1]]
    for marks in (None if rows.position_ids is None else rows.position_ids == 0, rows.sentence_starts):
        if marks is not None:
            begins |= marks
    return Units(maskable, begins & maskable)
