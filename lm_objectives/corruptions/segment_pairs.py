"""Rows of two segments: where passages of whole sentences are cut in two, and bos, eos and labels."""

from typing import ClassVar

import numpy as np

from lm_objectives.corruptions.base import Corruption
from lm_objectives.corruptions.sampling import concatenated_ranges
from lm_objectives.views import Rows, Text, View, Vocabulary

PAIR_SPECIAL_TOKENS = 3
"""Tokens of bos and two eos in a row of two segments."""


class SegmentPairs(Corruption):
    """Base of corruptions whose rows are two segments of whole sentences, with one label for each row."""

    reads_sentence_pairs: ClassVar[bool] = True

    def corrupt(self, rows: Rows, vocabulary: Vocabulary) -> View:
        """The view of the rows as they are: the first position of each has its label."""
        del vocabulary
        assert rows.labels is not None
        return rows.labelled(rows.input_ids, rows.labels)


def cut_points(text: Text, passages: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boundaries inside passages, `(passages, cuts)`: the tokens on the left and on the right, and which are real.

    Args:
        text: which the passages are of.
        passages: first sentence of each and one past its last, `(passages, 2)`.
    """
    starts, stops = text.sentences[:, 0], text.sentences[:, 1]
    number = np.arange(max(int((passages[:, 1] - passages[:, 0]).max(initial=2)) - 1, 1))
    boundary = passages[:, :1] + 1 + number
    real = boundary < passages[:, 1:]
    boundary = np.where(real, boundary, passages[:, :1] + 1)
    left = stops[boundary - 1] - starts[passages[:, :1]]
    right = stops[passages[:, 1:] - 1] - starts[boundary]
    return left, right, real


def pair_rows(
    text: Text, pairs: np.ndarray, keys: np.ndarray, labels: np.ndarray, seq_len: int, vocabulary: Vocabulary
) -> Rows:
    """Rows of bos, a first segment, eos, a second segment, eos.

    Args:
        pairs: start and stop of each row's two segments in the text, `(rows, 2, 2)`.
        labels: `(rows,)`.
    """
    first, second = (pairs[:, number, 1] - pairs[:, number, 0] for number in range(2))
    row, middle, lengths = np.arange(len(keys)) * seq_len, first + 2, first + second + PAIR_SPECIAL_TOKENS
    ids = np.full((len(keys), seq_len), vocabulary.pad, dtype=np.int64)
    sizes = np.stack([first, second], axis=1).ravel()
    into = concatenated_ranges(np.stack([row + 1, row + middle], axis=1).ravel(), sizes)
    ids.ravel()[into] = text.tokens[concatenated_ranges(pairs[:, :, 0].ravel(), sizes)]
    ids[:, 0] = vocabulary.bos
    ids.ravel()[np.concatenate([row + middle, row + lengths]) - 1] = vocabulary.eos
    place = np.arange(seq_len)
    segments = ((place >= middle[:, None]) & (place < lengths[:, None])).astype(np.int64)
    return Rows(keys, ids, lengths, token_type_ids=segments, labels=labels)
