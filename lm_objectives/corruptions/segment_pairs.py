"""Pairs of segments: units of whole sentences, where they are cut, and the rows made of them."""

import numpy as np

from lm_objectives.corruptions.sampling import concatenated_ranges
from lm_objectives.views import Rows, Text, View, Vocabulary

_GRID = 16  # kinds of lengths on each side of a cut


_ROUNDS = 30


_LARGEST = 64.0  # of a weight over its mirror image's


def split_into_units(starts: np.ndarray, stops: np.ndarray, edges: np.ndarray, most: int) -> np.ndarray:
    """Units of at least two sentences and at most `most` tokens, `(units, 2)`: their first sentence, one past the last.

    A stretch that is too long is cut at the boundary nearest to its middle (of the many windows that it will take), and
    its parts again. Filling windows from the left instead would let each unit begin with the sentence that did not fit
    the one before: a long one, by which its place could be told. Here left and right are alike: where there is a choice
    (a tie, an odd number of windows) it alternates with the number of the stretch's first sentence.

    Args:
        starts, stops: of the sentences in the text, `(sentences,)`.
        edges: first sentences of the stretches that no unit may leave, and the number of all sentences at the end.
        most: tokens of the longest unit; longer sentences lie in none.
    """
    long = np.flatnonzero(stops - starts > most)
    edges = np.unique(np.concatenate([edges, long, long + 1]))
    kept = ~np.isin(edges[:-1], long)
    first, last = edges[:-1][kept], edges[1:][kept]
    units = [np.zeros((0, 2), dtype=np.int64)]
    while len(first):
        size = stops[last - 1] - starts[first]
        fits = size <= most
        units.append(np.stack([first[fits], last[fits]], axis=1))
        first, last, size = first[~fits], last[~fits], size[~fits]
        windows, mirrored = -(-size // most), first % 2
        target = starts[first] + size * np.where(mirrored, windows - windows // 2, windows // 2) / windows
        right = np.minimum(np.searchsorted(starts, target), last - 1)
        apart = 2 * target - starts[right] - starts[right - 1]  # below 0 where the boundary on the left is nearer
        cut = np.clip(np.where((apart < 0) | ((apart == 0) & (mirrored == 1)), right - 1, right), first + 1, last - 1)
        first, last = np.concatenate([first, cut]), np.concatenate([cut, last])
    found = np.concatenate(units)
    found = found[found[:, 1] - found[:, 0] > 1]
    return found[np.argsort(found[:, 0])]


def cut_points(starts: np.ndarray, stops: np.ndarray, units: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All boundaries inside units, `(units, cuts)`: the tokens on the left and the right, and which are real."""
    number = np.arange(max(int((units[:, 1] - units[:, 0]).max(initial=2)) - 1, 1))
    boundary = units[:, :1] + 1 + number
    real = boundary < units[:, 1:]
    boundary = np.where(real, boundary, units[:, :1] + 1)
    left = stops[boundary - 1] - starts[units[:, :1]]
    right = stops[units[:, 1:] - 1] - starts[boundary]
    return left, right, real


def lookup_weights(table: np.ndarray, left: np.ndarray, right: np.ndarray, most: int) -> np.ndarray:
    """The weight of cuts with so many tokens on the left and on the right."""
    return table[_kind(left, most), _kind(right, most)]


def _kind(tokens: np.ndarray, most: int) -> np.ndarray:
    return np.minimum(tokens * _GRID // (most + 1), _GRID - 1)


def balance_cut_weights(left: np.ndarray, right: np.ndarray, real: np.ndarray, most: int) -> np.ndarray:
    """Weights of cuts by the lengths on either side, with which (left, right) is as frequent as (right, left).

    Real text is not the same backwards: a paragraph's first sentence is shorter than its last. Each round takes every
    kind of cut towards the mean of its own frequency and its mirror image's, a unit's chances adding up to 1.

    Args:
        left, right, real: as `cuts_of` gives them, for all units of a text.
        most: as in `halve`.
    """
    unit = np.nonzero(real)[0]
    kind = _kind(left[real], most) * _GRID + _kind(right[real], most)
    table = np.ones((_GRID, _GRID))
    for _ in range(_ROUNDS):
        weights = table.ravel()[kind]
        chances = weights / np.bincount(unit, weights)[unit]
        found = np.bincount(kind, chances, minlength=_GRID**2).reshape(_GRID, _GRID) + 1e-9
        table = np.clip(table * np.sqrt(found.T / found), 1 / _LARGEST, _LARGEST)
    return table


PAIR_SPECIAL_TOKENS = 3
"""Places of a row of two segments that bos and two eos take."""


def pair_rows(
    text: Text, pairs: np.ndarray, keys: np.ndarray, labels: np.ndarray, window: int, vocabulary: Vocabulary
) -> Rows:
    """Rows of bos, a first segment, eos, a second segment, eos.

    Args:
        pairs: start and stop of each row's two segments in the text, `(rows, 2, 2)`.
        labels: `(rows,)`.
    """
    first, second = (pairs[:, number, 1] - pairs[:, number, 0] for number in range(2))
    row, middle, lengths = np.arange(len(keys)) * window, first + 2, first + second + PAIR_SPECIAL_TOKENS
    ids = np.full((len(keys), window), vocabulary.pad, dtype=np.int64)
    sizes = np.stack([first, second], axis=1).ravel()
    into = concatenated_ranges(np.stack([row + 1, row + middle], axis=1).ravel(), sizes)
    ids.ravel()[into] = text.tokens[concatenated_ranges(pairs[:, :, 0].ravel(), sizes)]
    ids[:, 0] = vocabulary.bos
    ids.ravel()[np.concatenate([row + middle, row + lengths]) - 1] = vocabulary.eos
    place = np.arange(window)
    segments = ((place >= middle[:, None]) & (place < lengths[:, None])).astype(np.int64)
    return Rows(keys, ids, lengths, token_type_ids=segments, labels=labels)


def pair_view(rows: Rows) -> View:
    """The view of pairs: the first position of each row is asked for its label."""
    assert rows.labels is not None
    first = np.arange(len(rows.input_ids)) * rows.input_ids.shape[1]
    return rows.to_view(rows.input_ids, "bidirectional", first, rows.labels, {"loss": len(rows.input_ids)})
