"""Sentence order: two consecutive segments of one document, in their order or swapped."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from lm_objectives.corruptions.random import random_bits, uniform
from lm_objectives.corruptions.segment_pairs import PAIR_SPECIAL_TOKENS, SegmentPairs, cut_points, pair_rows
from lm_objectives.views import Rows, Text, Vocabulary

_CUT, _SWAP = range(2)  # what a random number is for
_GRID = 16  # kinds of lengths on each side of a cut
_ROUNDS = 30
_LARGEST = 64.0  # of a weight over its mirror image's
_SURVEYED = 2**16  # passages that weights are found from, so that memory does not grow with the text

Within = Literal["paragraph", "document"]


@dataclass(frozen=True)
class SentenceOrderPairs(SegmentPairs):
    """ALBERT's sentence order (Lan et al. 2020, section 3.1).

        text    It rained. We stayed in. Nobody minded.
        input   [CLS] It rained. We stayed in. [SEP] Nobody minded. [SEP]       target 0, in order
        input   [CLS] Nobody minded. [SEP] It rained. We stayed in. [SEP]       target 1, swapped
        segment   0   0   …                    1   …

    >>> import numpy as np
    >>> from lm_objectives import Rows, SentenceOrderPairs, Vocabulary
    >>> class Text:  # one document of a paragraph of three sentences
    ...     tokens = np.array([1, 10, 11, 12, 13, 14, 15, 2])
    ...     sentences = np.array([[1, 3], [3, 5], [5, 7]])
    ...     paragraphs, documents = np.array([0, 3]), np.array([0, 8])
    >>> vocabulary = Vocabulary(size=16, pad=0, bos=1, eos=2, mask=3, special=(0, 1, 2, 3))
    >>> corruption, text = SentenceOrderPairs(), Text()
    >>> windows = corruption.windows(text, 10, packing=False)
    >>> rows = corruption.read_rows(text, windows, np.array([7], dtype=np.uint64), 10, vocabulary)
    >>> rows.input_ids.tolist(), rows.token_type_ids.tolist(), rows.labels.tolist()
    ([[1, 14, 15, 2, 10, 11, 12, 13, 2, 0]], [[0, 0, 0, 0, 1, 1, 1, 1, 1, 0]], [1])

    Both segments start and end at a sentence's boundary and fit the window whole, so that the order cannot be told
    from truncation. Passages are cut alike from left and right, and the chances of a passage's cuts are weighted so
    that over the text a first segment of m tokens before a second of n is as frequent as n before m: the order cannot
    be told from lengths. The cut and the coin are each row's own. Sentences too long for the window are left out, and
    so are passages of one sentence.

    Attributes:
        within: whether both segments come from one paragraph, or may lie across paragraphs of one document.
    """

    within: Within = "paragraph"

    def windows(self, text: Text, seq_len: int, packing: bool) -> np.ndarray:
        del packing
        passages = _passages(text, self.within, seq_len - PAIR_SPECIAL_TOKENS)
        return np.stack([text.sentences[:, 0][passages[:, 0]], text.sentences[:, 1][passages[:, 1] - 1]], axis=1)

    def dropped_counts(self, text: Text, seq_len: int, packing: bool, vocabulary: Vocabulary) -> dict[str, int]:
        del packing, vocabulary
        most = seq_len - PAIR_SPECIAL_TOKENS
        long = int(np.count_nonzero(text.sentences[:, 1] - text.sentences[:, 0] > most))
        single = len(text.sentences) - int(np.diff(_passages(text, self.within, most)).sum()) - long
        return {"sentences longer than the window": long, "sentences without another to pair them with": single}

    def read_rows(
        self, text: Text, windows: np.ndarray, keys: np.ndarray, seq_len: int, vocabulary: Vocabulary
    ) -> Rows:
        starts, stops = text.sentences[:, 0], text.sentences[:, 1]
        passages, most = np.searchsorted(starts, windows), seq_len - PAIR_SPECIAL_TOKENS
        left, right, real = cut_points(text, passages)
        weights = np.where(real, _table(text, self.within, most)[_kind(left, most), _kind(right, most)], 0.0)
        reach = np.cumsum(weights, axis=1)
        chosen = (reach <= uniform(random_bits(keys, _CUT, np.zeros(1)))[:, None] * reach[:, -1:]).sum(axis=1)
        cut = passages[:, 0] + 1 + chosen
        swapped = (random_bits(keys, _SWAP, np.zeros(1)) & np.uint64(1)).astype(np.int64)
        pair = np.stack([windows[:, 0], stops[cut - 1], starts[cut], windows[:, 1]], axis=1).reshape(-1, 2, 2)
        pair = np.where(swapped[:, None, None] == 1, pair[:, ::-1], pair)
        return pair_rows(text, pair, keys, swapped, seq_len, vocabulary)


@lru_cache(maxsize=8)
def _passages(text: Text, within: Within, most: int) -> np.ndarray:
    """First sentence of each passage and one past its last, `(passages, 2)`; a text is known by identity."""
    starts, stops = np.asarray(text.sentences[:, 0]), np.asarray(text.sentences[:, 1])
    edges = np.asarray(text.paragraphs) if within == "paragraph" else np.searchsorted(starts, text.documents)
    return split_into_passages(starts, stops, edges, most)


@lru_cache(maxsize=8)
def _table(text: Text, within: Within, most: int) -> np.ndarray:
    """Weights of cuts by the lengths on either side, from passages spread over the text."""
    passages = _passages(text, within, most)
    return balance_cut_weights(*cut_points(text, passages[:: len(passages) // _SURVEYED + 1]), most)


def split_into_passages(starts: np.ndarray, stops: np.ndarray, edges: np.ndarray, most: int) -> np.ndarray:
    """First sentence of each passage and one past its last, `(passages, 2)`: two at least, of at most `most` tokens.

    A stretch that is too long is cut at the boundary nearest to its middle (of the many windows that it will take), and
    its parts again. Filling windows from the left instead would let each passage begin with the sentence that did not
    fit the one before: a long one, by which its place could be told. Here left and right are alike: where there is a
    choice (a tie, an odd number of windows) it alternates with the number of the stretch's first sentence.

    Args:
        starts, stops: of the sentences in the text, `(sentences,)`.
        edges: first sentences of the stretches that no passage may leave, and the number of all sentences at the end.
        most: tokens of the longest passage; longer sentences lie in none.
    """
    long = np.flatnonzero(stops - starts > most)
    edges = np.unique(np.concatenate([edges, long, long + 1]))
    short = ~np.isin(edges[:-1], long)
    first, last = edges[:-1][short], edges[1:][short]
    passages = [np.zeros((0, 2), dtype=np.int64)]
    while len(first):
        size = stops[last - 1] - starts[first]
        fits = size <= most
        passages.append(np.stack([first[fits], last[fits]], axis=1))
        first, last, size = first[~fits], last[~fits], size[~fits]
        windows, mirrored = -(-size // most), first % 2
        target = starts[first] + size * np.where(mirrored, windows - windows // 2, windows // 2) / windows
        right = np.minimum(np.searchsorted(starts, target), last - 1)
        apart = 2 * target - starts[right] - starts[right - 1]  # below 0 where the boundary on the left is nearer
        cut = np.clip(np.where((apart < 0) | ((apart == 0) & (mirrored == 1)), right - 1, right), first + 1, last - 1)
        first, last = np.concatenate([first, cut]), np.concatenate([cut, last])
    found = np.concatenate(passages)
    found = found[found[:, 1] - found[:, 0] > 1]
    return found[np.argsort(found[:, 0])]


def _kind(tokens: np.ndarray, most: int) -> np.ndarray:
    """Lengths in `_GRID` classes."""
    return np.minimum(tokens * _GRID // (most + 1), _GRID - 1)


def balance_cut_weights(left: np.ndarray, right: np.ndarray, real: np.ndarray, most: int) -> np.ndarray:
    """Weights of cuts by the lengths on either side, with which (left, right) is as frequent as (right, left).

    Real text is not the same backwards: a paragraph's first sentence is shorter than its last. Each round takes every
    kind of cut towards the mean of its own frequency and its mirror image's, a passage's chances adding up to 1.

    Args:
        left, right, real: as `cut_points` gives them, for all passages of a text.
        most: as in `split_into_passages`.
    """
    passage = np.nonzero(real)[0]
    kind = _kind(left[real], most) * _GRID + _kind(right[real], most)
    table = np.ones((_GRID, _GRID))
    for _ in range(_ROUNDS):
        weights = table.ravel()[kind]
        chances = weights / np.bincount(passage, weights)[passage]
        found = np.bincount(kind, chances, minlength=_GRID**2).reshape(_GRID, _GRID) + 1e-9
        table = np.clip(table * np.sqrt(found.T / found), 1 / _LARGEST, _LARGEST)
    return table
