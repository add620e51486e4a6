"""Random subsets, spans and partitions of rows, for whole batches, each row by its own key."""

from dataclasses import dataclass

import numpy as np

from lm_objectives.corruptions.random import random_bits
from lm_objectives.corruptions.span_lengths import SpanLengths, length_moments, sample_lengths

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

    The numbers have 16 bits. Where the last that is taken equals the first that is not, the row gets new ones of 64.

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


_LENGTHS, _ORDER = 4, 5  # what a random number is for; corruptions.masked_lm has 0 to 2
_NO_PLACE = np.uint32(2**32 - 1)


@dataclass(frozen=True)
class SampledSpans:
    """Units of some rows that are in spans, numbered from the first of the first row to the last of the last.

    Attributes:
        units: all units in a span, each once.
        continuing: units in a span after its first one, some more than once.
        empty: units before which a span of no units lies.
    """

    units: np.ndarray
    continuing: np.ndarray
    empty: np.ndarray


def sample_spans(
    keys: np.ndarray, units: np.ndarray, wanted: np.ndarray, lengths: SpanLengths, least: int = 1
) -> SampledSpans:
    """Spans that hold exactly `wanted` of each row's `units`, both `(rows,)`, placed as `lengths.placement` says.

        9 units, 5 wanted, the first to come       2 from unit 6, 2 from unit 3, 3 from unit 7, 2 from unit 0
        overlapping                                · · · x x · x x x      the third span adds one; no more are needed
        disjoint, which leaves the third out       x · · x x · x x ·      the fourth is cut to fit

    Spans come one after another until the row has what is wanted. Those of no units, where `least` is 0, mark a place;
    no more of them count, the earliest first, than leave a row as many spans as it has wanted units. Where all spans
    together hold too few, single units fill the row up.
    """
    most, base = int(units.max(initial=0)), np.cumsum(units) - units
    number = min(_expected_spans(lengths, least, units, wanted), most)
    while True:
        start, length, real = _candidates(keys, units, lengths, least, number)
        unit = concatenated_ranges((base[:, None] + start).ravel(), length.ravel())
        span = np.repeat(np.arange(start.size, dtype=np.int32), length.ravel())
        new = np.ones(len(unit), dtype=bool)
        if lengths.placement == "overlapping" or number == most:
            earliest = np.empty(units.sum(), dtype=np.int32)
            earliest[unit[::-1]] = span[::-1]  # of several the last one remains
            new = earliest[unit] == span
        covered = np.concatenate([[0], np.cumsum(new)])
        ends = np.concatenate([[0], np.cumsum(length.sum(axis=1))])
        if number == most or (np.diff(covered[ends]) >= wanted).all():
            break
        number = min(2 * number, most)

    aim = covered[ends[:-1]] + wanted
    counts = covered[:-1] < np.repeat(aim, np.diff(ends))
    continues = np.diff(span, prepend=-1) == 0
    empty = np.zeros(0, dtype=np.int64)
    if least == 0:
        before = covered[np.cumsum(length.ravel()) - length.ravel()].reshape(start.shape)
        counted = real & (before < aim[:, None])
        none = counted & (length == 0)
        begun = count_rows(counted & ~none)
        row, column = np.nonzero(none & (np.cumsum(none, axis=1) <= (wanted - begun)[:, None]))
        empty = base[row] + start[row, column]
    return SampledSpans(unit[counts & new], unit[counts & continues], empty)


def _expected_spans(lengths: SpanLengths, least: int, units: np.ndarray, wanted: np.ndarray) -> int:
    """How many spans nearly every row of a batch needs at most."""
    mean, deviation = length_moments(lengths, least)
    share = min((wanted / np.maximum(units, 1)).max(initial=0.0), 0.95)
    spans = units.max(initial=0) * -np.log1p(-share) / mean  # as many of its units go to earlier ones
    return int(1.1 * spans + 3.3 * np.sqrt(spans) * deviation / mean + 3)


def _candidates(
    keys: np.ndarray, units: np.ndarray, lengths: SpanLengths, least: int, number: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first `number` spans of each row in the order in which they come: starts, lengths, and which are real.

    After them come single units for all of a row's units, where the number is that of the longest row.
    """
    most, units = int(units.max(initial=0)), units[:, None]
    if lengths.placement == "tiling":
        tiles = _sample_tiles(keys, most, lengths, least)
        ends = np.cumsum(tiles, axis=1)
        tile, real = _shuffle(keys, ends - tiles < units, number)
        end, length = (np.take_along_axis(of, tile, axis=1) for of in (ends, tiles))
        start = end - length
        return start, np.where(real, np.minimum(end, units) - start, 0), real
    start, real = _shuffle(keys, np.arange(most) < units, number)
    bits, room = random_bits(keys[:, None], _LENGTHS, start), np.where(real, units - start, 0)
    if lengths.placement == "overlapping":
        length = np.minimum(sample_lengths(lengths, bits, least), room)
    else:
        length = sample_lengths(lengths, bits, least, room)
        real &= _accept_disjoint(np.cumsum(units)[:, None] - units + start, length)
        length[~real] = 0
    if number < most:
        return start, length, real
    return np.hstack([start, start]), np.hstack([length, np.minimum(room, 1)]), np.hstack([real, real])


def _shuffle(keys: np.ndarray, places: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """The first `number` of each row's `places`, `(rows, time)`, in an order given by its key, and which are real."""
    time = places.shape[1]
    low = np.uint32(2 ** time.bit_length() - 1)  # bits that tell places apart; the others are random
    words = random_bits(keys[:, None], _ORDER, np.arange(-(-time // 2)))
    order = words.astype("<u8", copy=False).view("<u4")[:, :time]  # two places share 64 bits
    order = np.where(places, order & ~low | np.arange(time, dtype=np.uint32), _NO_PLACE)
    if number < time:
        order = np.partition(order, number - 1, axis=1)[:, :number]
    order = np.sort(order, axis=1)
    real = order != _NO_PLACE
    return np.where(real, order & low, 0).astype(np.int64), real


def _sample_tiles(keys: np.ndarray, most: int, lengths: SpanLengths, least: int) -> np.ndarray:
    """Lengths of spans one after another, `(rows, spans)`, that cover `most` units or more."""
    mean, deviation = length_moments(lengths, least)
    number = int(most / mean + 4 * np.sqrt(most / mean) * deviation / mean) + 2
    while True:
        drawn = sample_lengths(lengths, random_bits(keys[:, None], _LENGTHS, np.arange(number)), least)
        if (drawn.sum(axis=1) >= most).all():
            return drawn
        number *= 2  # shorter than on average


def _accept_disjoint(start: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Which spans, in the order in which they come, overlap none that came before them and was accepted."""
    place, lengths = start.ravel(), length.ravel()
    some = np.flatnonzero(lengths)
    starting = np.full((place + lengths).max(initial=0), -1)  # the span that starts at a place
    starting[place[some]] = some
    pairs = []
    for further in range(1, int(length.max(initial=0))):
        some = some[lengths[some] > further]
        other = starting[place[some] + further]
        met = other >= 0
        pairs.append(np.stack([some[met], other[met]]))
    accepted = np.ones(start.size, dtype=bool)
    if pairs:
        one, other = np.concatenate(pairs, axis=1)
        earlier, later = np.minimum(one, other), np.maximum(one, other)
        blocks, stable = accepted[earlier], False
        while not stable:  # spans hinge on earlier ones, those on still earlier ones
            accepted[later] = True
            accepted[later[blocks]] = False
            stable = np.array_equal(accepted[earlier], blocks)
            blocks = accepted[earlier]
    return accepted.reshape(start.shape)
