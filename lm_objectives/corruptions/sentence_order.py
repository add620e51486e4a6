"""Sentence order: two consecutive segments of one document, in their order or swapped."""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np

from lm_objectives.corruptions.base import Corruption
from lm_objectives.corruptions.random import random_bits, uniform
from lm_objectives.corruptions.segment_pairs import (
    PAIR_SPECIAL_TOKENS,
    balance_cut_weights,
    cut_points,
    lookup_weights,
    pair_rows,
    pair_view,
    split_into_units,
)
from lm_objectives.views import Rows, Text, View, Vocabulary

_CUT, _SWAP = range(2)  # what a random number is for


_SURVEYED = 2**16  # units that weights are found from, so that memory does not grow with the text


Within = Literal["paragraph", "document"]


@dataclass(frozen=True)
class SentenceOrderPairs(Corruption):
    """ALBERT's sentence order (Lan et al. 2020, section 3.1).

        text    It rained. We stayed in. Nobody minded.
        input   [CLS] It rained. We stayed in. [SEP] Nobody minded. [SEP]       target 0, in order
        input   [CLS] Nobody minded. [SEP] It rained. We stayed in. [SEP]       target 1, swapped
        segment   0   0   …                    1   …

    Both segments start and end at a sentence's boundary and fit the window whole, so that the order cannot be told
    from truncation. Units are cut alike from left and right, and the chances of a unit's cuts are weighted so that over
    the text a first segment of m tokens before a second of n is as frequent as n before m: the order cannot be told
    from lengths. The cut and the coin are the row's own. Sentences too long for the window are left out, and so are
    units of one sentence.

    Attributes:
        within: whether both segments come from one paragraph, or may lie across paragraphs of one document.
    """

    within: Within = "paragraph"

    reads_sentence_pairs: ClassVar[bool] = True

    def windows(self, text: Text, window: int, packing: bool) -> np.ndarray:
        del packing
        units = _units(text, self.within, window - PAIR_SPECIAL_TOKENS)
        return np.stack([text.sentences[:, 0][units[:, 0]], text.sentences[:, 1][units[:, 1] - 1]], axis=1)

    def dropped_counts(self, text: Text, window: int, packing: bool, vocabulary: Vocabulary) -> dict[str, int]:
        del vocabulary
        starts, stops = text.sentences[:, 0], text.sentences[:, 1]
        units = self.windows(text, window, packing)
        paired = np.searchsorted(starts, units[:, 1]) - np.searchsorted(starts, units[:, 0])
        long = int(np.count_nonzero(stops - starts > window - PAIR_SPECIAL_TOKENS))
        single = len(starts) - int(paired.sum()) - long
        return {"sentences longer than the window": long, "sentences without another to pair them with": single}

    def read_rows(self, text: Text, spans: np.ndarray, keys: np.ndarray, window: int, vocabulary: Vocabulary) -> Rows:
        starts, stops = text.sentences[:, 0], text.sentences[:, 1]
        units, most = np.searchsorted(starts, spans), window - PAIR_SPECIAL_TOKENS
        left, right, real = cut_points(starts, stops, units)
        weights = np.where(real, lookup_weights(_table(text, self.within, most), left, right, most), 0.0)
        reach = np.cumsum(weights, axis=1)
        zero = np.zeros(len(keys), dtype=np.uint64)
        chosen = (reach <= uniform(random_bits(keys, _CUT, zero))[:, None] * reach[:, -1:]).sum(axis=1)
        cut = units[:, 0] + 1 + chosen
        swapped = (random_bits(keys, _SWAP, zero) & np.uint64(1)).astype(np.int64)
        pair = np.stack([spans[:, 0], stops[cut - 1], starts[cut], spans[:, 1]], axis=1).reshape(-1, 2, 2)
        pair = np.where(swapped[:, None, None] == 1, pair[:, ::-1], pair)
        return pair_rows(text, pair, keys, swapped, window, vocabulary)

    def corrupt(self, rows: Rows, vocabulary: Vocabulary) -> View:
        del vocabulary
        return pair_view(rows)


@lru_cache(maxsize=8)
def _units(text: Text, within: Within, most: int) -> np.ndarray:
    """First sentence of each unit and one past its last, `(units, 2)`; a text is known by identity."""
    starts, stops = np.asarray(text.sentences[:, 0]), np.asarray(text.sentences[:, 1])
    edges = np.asarray(text.paragraphs) if within == "paragraph" else np.searchsorted(starts, text.documents)
    return split_into_units(starts, stops, edges, most)


@lru_cache(maxsize=8)
def _table(text: Text, within: Within, most: int) -> np.ndarray:
    """Weights of cuts by the lengths on either side, from units spread over the text."""
    starts, stops = np.asarray(text.sentences[:, 0]), np.asarray(text.sentences[:, 1])
    units = _units(text, within, most)
    return balance_cut_weights(*cut_points(starts, stops, units[:: len(units) // _SURVEYED + 1]), most)
