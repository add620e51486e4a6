"""Next-sentence pairs: a second segment that follows the first, or one from another document."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lm_objectives.corruptions.random import randint, random_bits
from lm_objectives.corruptions.segment_pairs import PAIR_SPECIAL_TOKENS, SegmentPairs, cut_points, pair_rows
from lm_objectives.errors import expect
from lm_objectives.views import Rows, Text, Vocabulary

_COIN, _DOCUMENT, _OFFER, _TIE = range(4)  # what a random number is for
_OFFERS = 32  # second segments of another document that a row chooses from


@dataclass(frozen=True)
class NextSentencePairs(SegmentPairs):
    """BERT's next-sentence prediction (Devlin et al. 2019, section 3.1, task 2).

        text      It rained. We stayed in.          another document      Prices rose. Nobody minded it.
        input     [CLS] It rained. [SEP] We stayed in. [SEP]              target 0, is next
        input     [CLS] It rained. [SEP] Nobody minded it. [SEP]          target 1, is not
        segment     0   0   …        0   1   …              1

    >>> import numpy as np
    >>> from lm_objectives import NextSentencePairs, Rows, Vocabulary
    >>> class Text:  # two documents of a paragraph of two sentences
    ...     tokens = np.array([1, 10, 11, 12, 13, 2, 1, 14, 15, 16, 17, 2])
    ...     sentences = np.array([[1, 3], [3, 5], [7, 9], [9, 11]])
    ...     paragraphs, documents = np.array([0, 2, 4]), np.array([0, 6, 12])
    >>> vocabulary = Vocabulary(size=18, pad=0, bos=1, eos=2, mask=3, special=(0, 1, 2, 3))
    >>> corruption, text = NextSentencePairs(), Text()
    >>> windows = corruption.windows(text, 7, packing=False)
    >>> rows = corruption.read_rows(text, windows, np.array([7, 8], dtype=np.uint64), 7, vocabulary)
    >>> rows.input_ids.tolist(), rows.labels.tolist()
    ([[1, 10, 11, 2, 16, 17, 2], [1, 14, 15, 2, 16, 17, 2]], [1, 0])

    A row reads a passage of whole sentences of one document, as many as fit the window, and cuts it in two. Another
    document, each as likely, offers a second segment instead of the passage's own: one that could have been cut there.
    Of the passage's cuts and the offers those of equal length are taken, or of the least difference; a segment that
    ends its document is exchanged for one that does. Only then the row's coin says which second segment is read, so
    that neither the lengths nor where segments begin and end tell the label. Sentences too long for half a window are
    left out, and so are those without another next to them.
    """

    def windows(self, text: Text, seq_len: int, packing: bool) -> np.ndarray:
        del packing
        passages = _passages(text, seq_len - PAIR_SPECIAL_TOKENS)
        expected = "at least 2 documents with room for next-sentence pairs"
        mend = "give more documents, hold out more by data.validation_share, or learn SentenceOrder, which needs one"
        expect(not len(passages.first) or len(passages.bounds) >= 3, expected, "1", mend)
        return np.stack([text.sentences[:, 0][passages.first], text.sentences[:, 1][passages.last - 1]], axis=1)

    def read_rows(
        self, text: Text, windows: np.ndarray, keys: np.ndarray, seq_len: int, vocabulary: Vocabulary
    ) -> Rows:
        starts, stops, most = text.sentences[:, 0], text.sentences[:, 1], seq_len - PAIR_SPECIAL_TOKENS
        passages = _passages(text, most)
        own = np.searchsorted(passages.first, np.searchsorted(starts, windows[:, 0]))
        offered, offers = _sample_offers(keys, passages, own)
        left, right, real = cut_points(text, np.stack([passages.first[own], passages.last[own]], axis=1))
        cut, which = _match(keys, left, right, real, stops[passages.last[offered] - 1] - starts[offers], most)
        labels = (random_bits(keys, _COIN, np.zeros(1)) & np.uint64(1)).astype(np.int64)
        row, begins = np.arange(len(keys)), passages.first[own] + 1 + cut
        second = np.where(labels == 1, offers[row, which], begins)
        end = np.where(labels == 1, passages.last[offered[row, which]], passages.last[own])
        pairs = np.stack([windows[:, 0], stops[begins - 1], starts[second], stops[end - 1]], axis=1).reshape(-1, 2, 2)
        return pair_rows(text, pairs, keys, labels, seq_len, vocabulary)


@dataclass(frozen=True)
class _Passages:
    """Passages of a text, in its order.

    Attributes:
        first: the first sentence of each, `(passages,)`.
        last: one past the last one, `(passages,)`.
        bounds: the first passage of each document that has one, and the number of all at the end.
        ending: whether the last passage of each of these documents ends it.
    """

    first: np.ndarray
    last: np.ndarray
    bounds: np.ndarray
    ending: np.ndarray


def _sample_offers(keys: np.ndarray, passages: _Passages, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Second segments of one other document for each row, `(rows, offers)`: their passages and their first sentences.

    Every other document is as likely, then each of its passages, then each cut; but the last offer is one sentence,
    which fits every row. Passages that end their documents are offered to their like, and the others to the others,
    where the document has such.
    """
    document = np.searchsorted(passages.bounds, own, side="right") - 1
    other = randint(random_bits(keys, _DOCUMENT, np.zeros(1)), len(passages.ending) - 1)
    other += other >= document
    begin, end, ending = passages.bounds[other], passages.bounds[other + 1], passages.ending[other]
    wanted = passages.ending[document] & (own == passages.bounds[document + 1] - 1)
    begin = np.where(ending & wanted, end - 1, begin)
    end = np.where(ending & ~wanted & (end - begin > 1), end - 1, end)
    bits = random_bits(keys[:, None], _OFFER, np.arange(_OFFERS + 1))
    passage = begin[:, None] + randint(bits, (end - begin)[:, None])
    first, last = passages.first[passage], passages.last[passage]
    sentence = first + 1 + randint(bits << np.uint64(32), last - first - 1)
    sentence[:, -1] = last[:, -1] - 1
    return passage, sentence


def _match(
    keys: np.ndarray, left: np.ndarray, right: np.ndarray, real: np.ndarray, offers: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """The cut and the offer whose lengths differ least, of equals one pair by chance; neither depends on the coin.

    Args:
        keys: `(rows,)`.
        left, right, real: as `cut_points` gives them, `(rows, cuts)`.
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
def _passages(text: Text, most: int) -> _Passages:
    """The passages of a text, which is known by identity: as many sentences as fit `most` tokens, two at least."""
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
    return _Passages(found, last[found], np.append(bounds[:-1][filled], len(found)), ending)


def reachable(after: np.ndarray) -> np.ndarray:
    """Which places a walk from place 0 visits whose steps lead from each place to `after` it, by doubling the steps."""
    count = len(after)
    jump, seen = np.append(after, count), np.arange(count + 1) == 0
    for _ in range(count.bit_length()):
        seen[jump[seen]] = True
        jump = jump[jump]
    return seen[:-1]
