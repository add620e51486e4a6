"""Next-sentence pairs: a second segment that follows the first, or one from another document."""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from lm_objectives.corruptions.base import Corruption
from lm_objectives.corruptions.random import randint, random_bits
from lm_objectives.corruptions.segment_pairs import PAIR_SPECIAL_TOKENS, cut_points, pair_rows, pair_view
from lm_objectives.errors import InputError
from lm_objectives.views import Rows, Text, View, Vocabulary

_COIN, _DOCUMENT, _OFFER, _TIE = range(4)  # what a random number is for


_OFFERS = 32  # second segments of another document that a row chooses from


@dataclass(frozen=True)
class NextSentencePairs(Corruption):
    """BERT's next-sentence prediction (Devlin et al. 2019, section 3.1, task 2).

        text      It rained. We stayed in.          another document      Prices rose. Nobody minded it.
        input     [CLS] It rained. [SEP] We stayed in. [SEP]              target 0, is next
        input     [CLS] It rained. [SEP] Nobody minded it. [SEP]          target 1, is not
        segment     0   0   …        0   1   …              1

    A row reads a unit of whole sentences of one document, as many as fit the window, and cuts it in two. Another
    document, each as likely, offers a second segment in place of the unit's own: one that could have been cut there.
    Of the unit's cuts and the offers those of equal length are taken, or of the least difference; segments that end a
    document stand for one another. Only then the row's coin says which second segment is read, so that neither the
    lengths nor where segments begin and end tell the label. Sentences too long for half a window are left out, and so
    are those without another beside them.
    """

    reads_sentence_pairs: ClassVar[bool] = True

    def windows(self, text: Text, window: int, packing: bool) -> np.ndarray:
        del packing
        units = _units(text, window - PAIR_SPECIAL_TOKENS)
        if len(units.first) and len(units.bounds) < 3:
            raise InputError(
                "expected at least 2 documents with room for next-sentence pairs, found 1: give a corpus of several "
                "documents, or learn SentenceOrder, which needs one"
            )
        return np.stack([text.sentences[:, 0][units.first], text.sentences[:, 1][units.last - 1]], axis=1)

    def read_rows(self, text: Text, spans: np.ndarray, keys: np.ndarray, window: int, vocabulary: Vocabulary) -> Rows:
        starts, stops, most = text.sentences[:, 0], text.sentences[:, 1], window - PAIR_SPECIAL_TOKENS
        units = _units(text, most)
        own = np.searchsorted(units.first, np.searchsorted(starts, spans[:, 0]))
        offered, offers = _offers(keys, units, own)
        left, right, real = cut_points(starts, stops, np.stack([units.first[own], units.last[own]], axis=1))
        cut, which = _matched(keys, left, right, real, stops[units.last[offered] - 1] - starts[offers], most)
        labels = (random_bits(keys, _COIN, np.zeros(len(keys), dtype=np.uint64)) & np.uint64(1)).astype(np.int64)
        row, begins = np.arange(len(keys)), units.first[own] + 1 + cut
        second = np.where(labels == 1, offers[row, which], begins)
        end = np.where(labels == 1, units.last[offered[row, which]], units.last[own])
        pairs = np.stack([spans[:, 0], stops[begins - 1], starts[second], stops[end - 1]], axis=1).reshape(-1, 2, 2)
        return pair_rows(text, pairs, keys, labels, window, vocabulary)

    def corrupt(self, rows: Rows, vocabulary: Vocabulary) -> View:
        del vocabulary
        return pair_view(rows)


@dataclass(frozen=True)
class _Units:
    """Units of a text, in its order.

    Attributes:
        first: the first sentence of each, `(units,)`.
        last: one past the last one, `(units,)`.
        bounds: the first unit of each document that has one, and the number of all at the end.
        ending: whether the last unit of each of these documents ends it.
    """

    first: np.ndarray
    last: np.ndarray
    bounds: np.ndarray
    ending: np.ndarray


def _offers(keys: np.ndarray, units: _Units, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Second segments of one other document for each row, `(rows, offers)`: their units and their first sentences.

    Every other document is as likely, then each of its units, then each cut; but the last offer is one sentence, which
    fits every row. Units that end their documents are offered to their like, and the others to the others, where the
    document has such.
    """
    document = np.searchsorted(units.bounds, own, side="right") - 1
    other = randint(random_bits(keys, _DOCUMENT, np.zeros(len(keys), dtype=np.uint64)), len(units.ending) - 1)
    other += other >= document
    begin, end, ending = units.bounds[other], units.bounds[other + 1], units.ending[other]
    wanted = units.ending[document] & (own == units.bounds[document + 1] - 1)
    begin = np.where(ending & wanted, end - 1, begin)
    end = np.where(ending & ~wanted & (end - begin > 1), end - 1, end)
    bits = random_bits(keys[:, None], _OFFER, np.arange(_OFFERS + 1))
    unit = begin[:, None] + randint(bits, (end - begin)[:, None])
    first, last = units.first[unit], units.last[unit]
    sentence = first + 1 + randint(bits << np.uint64(32), last - first - 1)
    sentence[:, -1] = last[:, -1] - 1
    return unit, sentence


def _matched(
    keys: np.ndarray, left: np.ndarray, right: np.ndarray, real: np.ndarray, offers: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """The cut and the offer whose lengths differ least, of equals one pair by chance; neither depends on the coin.

    Args:
        keys: `(rows,)`.
        left, right, real: as `cuts_of` gives them, `(rows, cuts)`.
        offers: tokens, `(rows, offers)`; the last one is taken where no other fits.
        most: tokens that the left side and an offer may have together.
    """
    apart = np.abs(offers[:, None] - right[:, :, None])
    apart[:, :, -1] += most
    apart[offers[:, None] > np.where(real, most - left, 0)[:, :, None]] = 3 * most
    # of equals every pair is as likely: a sum that wraps is uniform, whatever the other summand is
    number = offers.shape[1]
    ties = (random_bits(keys[:, None], _TIE, np.arange(number + right.shape[1])) >> np.uint64(48)).astype(np.uint16)
    order = apart << 16 | (ties[:, number:, None] + ties[:, None, :number])
    best = order.reshape(len(keys), -1).argmin(axis=1)
    return best // number, best % number


@lru_cache(maxsize=8)
def _units(text: Text, most: int) -> _Units:
    """The units of a text, which is known by identity: as many sentences as fit `most` tokens, two at least."""
    starts, stops = np.asarray(text.sentences[:, 0]), np.asarray(text.sentences[:, 1])
    limits = np.searchsorted(starts, text.documents)
    long = np.flatnonzero(stops - starts > most // 2)
    edges = np.unique(np.concatenate([limits, long, long + 1]))
    last = np.minimum(np.repeat(edges[1:], np.diff(edges)), np.searchsorted(stops, starts + most, side="right"))
    first = np.arange(len(starts))
    several = last - first > 1
    found = np.flatnonzero(several & reachable(np.where(several, last, first + 1)))
    bounds = np.searchsorted(found, limits)
    filled = np.diff(bounds) > 0
    ending = last[found[bounds[1:][filled] - 1]] == limits[1:][filled]
    return _Units(found, last[found], np.append(bounds[:-1][filled], len(found)), ending)


def reachable(after: np.ndarray) -> np.ndarray:
    """Places that one comes by from place 0, each step leading from a place to `after` it, by doubling the steps."""
    count = len(after)
    jump, seen = np.append(after, count), np.arange(count + 1) == 0
    for _ in range(count.bit_length()):
        seen[jump[seen]] = True
        jump = jump[jump]
    return seen[:-1]
