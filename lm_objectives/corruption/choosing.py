"""Uniform choices by the row's key, for whole batches: subsets, runs that do not touch, and cuts into parts."""

from dataclasses import dataclass

import numpy as np

from lm_objectives.corruption.keyed import draw
from lm_objectives.corruption.lengths import SpanLengths, lengths_from

_LENGTHS, _SLOTS = 4, 5  # what a random number is for; corruption.masking has 0 to 2
_NEVER = np.iinfo(np.uint64).max
_BEHIND = np.uint32(2**16)  # all numbers of 16 bits
_LOW = np.uint64(2**20 - 1)  # bits that tell slots apart; the others are drawn


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """`start, …, start + length - 1` of each pair, one after another."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(lengths.sum())


def count_rows(mask: np.ndarray) -> np.ndarray:
    """How many of each row are true, `(rows, time)` to `(rows,)`."""
    return mask.sum(axis=1, dtype=np.int32).astype(np.int64)  # half the time of a sum in 64 bits


def smallest(keys: np.ndarray, purpose: int, candidates: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """`wanted` of each row's `candidates`, every subset as likely: those with the smallest random numbers.

    The numbers have 16 bits. Where the last that is taken equals the first that is not, the row is drawn anew with 64.

    Args:
        keys: `(rows,)`.
        purpose: what the random numbers are for.
        candidates: `(rows, time)`.
        wanted: at most as many as there are candidates, `(rows,)`.
    """
    time = candidates.shape[1]
    words = draw(keys[:, None], purpose, np.arange(-(-time // 4)))
    order = words.astype("<u8", copy=False).view("<u2")[:, :time]  # four places share 64 bits
    ranked, row = order.astype(np.uint32), np.arange(len(order))
    np.copyto(ranked, _BEHIND, where=~candidates)
    ranked.sort(axis=1)
    last = ranked[row, np.maximum(wanted - 1, 0)]
    chosen = candidates & (order <= last[:, None].astype(np.uint16))
    chosen[wanted == 0] = False
    tied = (ranked[row, np.minimum(wanted, time - 1)] == last) & (wanted > 0) & (wanted < time)
    if tied.any():
        bits = np.where(candidates[tied], draw(keys[tied, None], purpose, np.arange(time, 2 * time)), _NEVER)
        ranks = np.argsort(np.argsort(bits, axis=1, kind="stable"), axis=1)
        chosen[tied] = ranks < wanted[tied, None]
    return chosen


@dataclass(frozen=True)
class Runs:
    """Runs of units, those of a row in order.

    Attributes:
        row: of each run, `(runs,)`.
        start: units of the row before it.
        length: its units.
    """

    row: np.ndarray
    start: np.ndarray
    length: np.ndarray


def place_runs(keys: np.ndarray, units: np.ndarray, wanted: np.ndarray, lengths: SpanLengths, least: int = 1) -> Runs:
    """Runs that hold exactly `wanted` of each row's `units`, both `(rows,)`.

        units 9, wanted 4, lengths drawn 2, 1, 3        runs of 2, 1 and 1: the last is cut to fit
        slots around the 5 units that are kept          | k | k | k | k | k |
        three of the six, in the order of the draws       1   ·   2   ·   ·   3
        units                                           x k k x x k k k x

    Slots are chosen without return, so that no two runs touch and each has the length that was drawn for it. Where
    there are more runs than slots they may touch: any arrangement of the runs and the kept units is as likely. Runs of
    no units, where `least` is 0, mark a place between two units; no more of them count than leave a row as many runs
    as it has wanted units.
    """
    drawn = _draw_lengths(keys, wanted, lengths, least)
    before = np.cumsum(drawn, axis=1) - drawn
    used = before < wanted[:, None]
    drawn = np.minimum(drawn, wanted[:, None] - before)
    if least == 0:
        empty = used & (drawn == 0)
        allowed = wanted - (used & ~empty).sum(axis=1)
        used &= ~empty | (np.cumsum(empty, axis=1) <= allowed[:, None])
    runs, kept = used.sum(axis=1), units - wanted
    touching = runs > kept + 1
    slots = np.where(touching, kept + runs, kept + 1)

    slot = np.arange(slots.max(initial=1), dtype=np.uint64)
    order = (draw(keys[:, None], _SLOTS, slot) & ~_LOW) | slot
    order = np.sort(np.where(slot < slots[:, None], order, _NEVER), axis=1)
    row, column = np.divmod(np.flatnonzero(used), drawn.shape[1])
    at = (order[row, np.cumsum(used, axis=1)[row, column] - 1] & _LOW).astype(np.int64)
    taken, length = np.zeros(order.shape, dtype=bool), np.zeros(order.shape, dtype=np.int64)
    taken[row, at], length[row, at] = True, drawn[row, column]
    wide = length + np.where(touching[:, None], ~taken, True)
    start = np.cumsum(wide, axis=1) - wide
    row, at = np.divmod(np.flatnonzero(taken), len(slot))
    return Runs(row, start[row, at], length[row, at])


def _draw_lengths(keys: np.ndarray, wanted: np.ndarray, lengths: SpanLengths, least: int) -> np.ndarray:
    """Lengths of at least `least`, `(rows, runs)`, that add up to `wanted` or more."""
    chances = lengths.probabilities()
    mean = chances @ np.arange(len(chances)) / chances.sum()
    runs = int(1.3 * wanted.max(initial=0) / mean) + 4
    while True:
        drawn = lengths_from(lengths, draw(keys[:, None], _LENGTHS, np.arange(runs)), least)
        if (drawn.sum(axis=1) >= wanted).all():
            return drawn
        runs *= 2  # shorter than on average


def cut_evenly(keys: np.ndarray, purpose: int, items: np.ndarray, parts: np.ndarray, most: int) -> np.ndarray:
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
    begins = smallest(keys, purpose, (place > 0) & (place < items[:, None]), np.maximum(parts - 1, 0))
    begins[:, 0] = items > 0
    row, first = np.divmod(np.flatnonzero(begins), len(place))
    return np.diff((np.cumsum(items) - items)[row] + first, append=items.sum())
