"""Rows in which some tokens stay, some go, and others are filled in."""

import numpy as np

from lm_objectives.corruptions.sampling import concatenated_ranges, count_rows


def insert_tokens(
    ids: np.ndarray,
    stays: np.ndarray,
    row: np.ndarray,
    column: np.ndarray,
    fillers: np.ndarray,
    width: int,
    pad: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of what stays, with fillers between, padded on the right.

        ids        a  b  c  d
        stays      x  ·  ·  x
        fillers    X before column 1, Y before column 4, the end
        result     a  X  d  Y

    Args:
        ids: `(rows, time)`.
        stays: which of them stay, `(rows, time)`.
        row, column: where each filler stands: before a column, or behind the last where it is `time`; in the order of
            rows and, within a row, of columns.
        fillers: as many tokens.
        width: tokens of a new row, at least as many as any needs.
        pad: what fills it up.

    Returns:
        The new rows, `(rows, width)`, and their lengths.
    """
    kept = np.flatnonzero(stays)
    places = np.searchsorted(kept, row * ids.shape[1] + column) + np.arange(len(fillers))
    merged = np.empty(len(kept) + len(fillers), dtype=np.int64)
    stayed = np.ones(len(merged), dtype=bool)
    stayed[places] = False
    merged[places], merged[stayed] = fillers, ids.ravel()[kept]
    lengths = count_rows(stays) + np.bincount(row, minlength=len(ids))
    made = np.full((len(ids), width), pad, dtype=np.int64)
    made[np.arange(width) < lengths[:, None]] = merged
    return made, lengths


def compact_rows(
    ids: np.ndarray, stays: np.ndarray, width: int, pad: int, end: int, front: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of what stays alone, behind a token in front where there is one, and with another at the end.

        ids        a  b  c  d
        stays      x  ·  ·  x
        result     F  a  d  E

    Args and results are as in `splice`.
    """
    counts, first, rows = count_rows(stays), int(front is not None), np.arange(len(ids))
    lengths = counts + first + 1
    made = np.full((len(ids), width), pad, dtype=np.int64)
    if front is not None:
        made[:, 0] = front
    made.ravel()[concatenated_ranges(rows * width + first, counts)] = ids.ravel()[np.flatnonzero(stays)]
    made[rows, lengths - 1] = end
    return made, lengths
