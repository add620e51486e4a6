"""Rows from which some tokens are removed and into which others are inserted."""

import numpy as np

from lm_objectives.corruptions.sampling import count_rows


def insert_tokens(
    ids: np.ndarray, kept: np.ndarray, row: np.ndarray, column: np.ndarray, inserted: np.ndarray, width: int, pad: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the tokens that are kept, with others between, padded on the right.

        ids        a  b  c  d
        kept       x  ·  ·  x
        inserted   X before column 1, Y before column 4, the end
        result     a  X  d  Y

    Args:
        ids: `(rows, time)`.
        kept: which of them are kept, `(rows, time)`.
        row, column: where each token is inserted: before a column, or after the last where it is `time`; in the order
            of rows and, within a row, of columns.
        inserted: as many tokens.
        width: tokens of a new row, at least as many as any needs.
        pad: what fills it up.

    Returns:
        The new rows, `(rows, width)`, and their lengths.
    """
    old = np.flatnonzero(kept)
    lengths = count_rows(kept) + np.bincount(row, minlength=len(ids))
    made = np.full((len(ids), width), pad, dtype=ids.dtype)
    places = np.searchsorted(old, row * ids.shape[1] + column)
    made[np.arange(width) < lengths[:, None]] = np.insert(ids.ravel()[old], places, inserted)
    return made, lengths


def compact_rows(
    ids: np.ndarray, kept: np.ndarray, width: int, pad: int, prefix: tuple[int, ...], suffix: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the tokens that are kept alone, between the tokens of a prefix and of a suffix.

        ids        a  b  c  d
        kept       x  ·  ·  x
        result     P  a  d  S

    Args and results are as in `insert_tokens`.
    """
    count, added = len(ids), np.array([*prefix, *suffix])
    column = np.repeat([0, ids.shape[1]], [len(prefix), len(suffix)])
    row = np.repeat(np.arange(count), len(added))
    return insert_tokens(ids, kept, row, np.tile(column, count), np.tile(added, count), width, pad)
