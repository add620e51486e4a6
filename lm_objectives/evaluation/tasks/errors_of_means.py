"""Standard errors of means over values that go together in rows, batches or documents."""

from collections.abc import Sequence

import numpy as np


def batch_error(sums: Sequence[tuple[float, int]]) -> float | None:
    """`row_error` of batches in place of rows, from the sum and the number of the values of each."""
    totals, counts = np.array(sums, dtype=np.float64).T
    if len(totals) < 2:
        return None
    residuals = totals - counts * totals.sum() / counts.sum()
    return float(np.sqrt(len(totals) / (len(totals) - 1) * (residuals**2).sum()) / counts.sum())


def row_error(values: np.ndarray, row: np.ndarray) -> float | None:
    """Standard error of the mean of values, whose rows are independent and their values within not; `None` of one row.

    That of a ratio of sums (Cochran 1977, section 6.4).
    """
    numbers = row.astype(np.int64)
    counts, totals = np.bincount(numbers), np.bincount(numbers, weights=values)
    return batch_error([*zip(totals[counts > 0].tolist(), counts[counts > 0].tolist(), strict=True)])
