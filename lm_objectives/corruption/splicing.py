"""Rows in which some tokens stay, some go, and others are filled in."""

import numpy as np


def splice(
    ids: np.ndarray, stays: np.ndarray, fill_at: np.ndarray, fillers: np.ndarray, width: int, pad: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of what stays, with fillers between, padded on the right.

        ids        a  b  c  d
        stays      x  ·  ·  x
        fill_at    0  1  0  0  1      before each token, and behind the last
        fillers    X  Y
        result     a  X  d  Y

    Args:
        ids: `(rows, time)`.
        stays: which of them stay, `(rows, time)`.
        fill_at: how many fillers stand before each place, `(rows, time + 1)`.
        fillers: those of the first row, then those of the second, and so on.
        width: tokens of a new row, at least as many as any needs.
        pad: what fills it up.

    Returns:
        The new rows, `(rows, width)`, and their lengths.
    """
    emitted = fill_at.copy()
    emitted[:, :-1] += stays
    ends = np.cumsum(emitted, axis=1)
    lengths = ends[:, -1]
    row, column = np.nonzero(stays)
    made = np.full((len(ids), width), pad, dtype=np.int64)
    filled = np.arange(width) < lengths[:, None]
    place = ends[row, column] - 1
    made[row, place] = ids[row, column]
    filled[row, place] = False
    made[filled] = fillers
    return made, lengths
