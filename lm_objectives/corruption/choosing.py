"""Uniform choices by the row's key, for whole batches: subsets, and cuts into parts."""

import numpy as np

from lm_objectives.corruption.keyed import random_bits

_NEVER = np.iinfo(np.uint64).max
_BEHIND = np.uint32(2**16)  # all numbers of 16 bits


def concatenated_ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """`start, …, start + length - 1` of each pair, one after another."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(lengths.sum())


def count_rows(mask: np.ndarray) -> np.ndarray:
    """How many of each row are true, `(rows, time)` to `(rows,)`."""
    return mask.sum(axis=1, dtype=np.int32).astype(np.int64)  # half the time of a sum in 64 bits


def sample_subset(keys: np.ndarray, purpose: int, candidates: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """`wanted` of each row's `candidates`, every subset as likely: those with the smallest random numbers.

    The numbers have 16 bits. Where the last that is taken equals the first that is not, the row is drawn anew with 64.

    Args:
        keys: `(rows,)`.
        purpose: what the random numbers are for.
        candidates: `(rows, time)`.
        wanted: at most as many as there are candidates, `(rows,)`.
    """
    time = candidates.shape[1]
    words = random_bits(keys[:, None], purpose, np.arange(-(-time // 4)))
    order = words.astype("<u8", copy=False).view("<u2")[:, :time]  # four places share 64 bits
    ranked, row = order.astype(np.uint32), np.arange(len(order))
    np.copyto(ranked, _BEHIND, where=~candidates)
    ranked.sort(axis=1)
    last = ranked[row, np.maximum(wanted - 1, 0)]
    chosen = candidates & (order <= last[:, None].astype(np.uint16))
    chosen[wanted == 0] = False
    tied = (ranked[row, np.minimum(wanted, time - 1)] == last) & (wanted > 0) & (wanted < time)
    if tied.any():
        bits = np.where(candidates[tied], random_bits(keys[tied, None], purpose, np.arange(time, 2 * time)), _NEVER)
        ranks = np.argsort(np.argsort(bits, axis=1, kind="stable"), axis=1)
        chosen[tied] = ranks < wanted[tied, None]
    return chosen


def random_partition(keys: np.ndarray, purpose: int, items: np.ndarray, parts: np.ndarray, most: int) -> np.ndarray:
    """Sizes of `parts` parts of at least one that each row's `items` are cut into, every way to cut as likely.

    Args:
        keys: `(rows,)`.
        purpose: what the random numbers are for.
        items: `(rows,)`.
        parts: at most as many, `(rows,)`; 0 only where there are no items.
        most: items that any row of this shape may have.

    Returns:
        The sizes of all rows' parts one after another, `(parts,)`.
    """
    place = np.arange(max(most, 1))
    begins = sample_subset(keys, purpose, (place > 0) & (place < items[:, None]), np.maximum(parts - 1, 0))
    begins[:, 0] = items > 0
    row, first = np.divmod(np.flatnonzero(begins), len(place))
    return np.diff((np.cumsum(items) - items)[row] + first, append=items.sum())
