"""Rows of different lengths as one array."""

from collections.abc import Sequence

import numpy as np


def pad_rows(rows: Sequence[np.ndarray], window: int, pad: int) -> tuple[np.ndarray, np.ndarray]:
    """Ragged rows as one array padded on the right, `(rows, window)`, and their lengths."""
    ids = np.full((len(rows), window), pad, dtype=np.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
    return ids, np.array([len(row) for row in rows], dtype=np.int64)
