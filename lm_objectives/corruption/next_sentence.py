"""Next-sentence pairs: a second segment that follows the first, or one from another document."""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from lm_objectives.corruption.base import Corruption, Rows, Text, View, Vocabulary
from lm_objectives.corruption.keyed import below, draw
from lm_objectives.corruption.pairs import MARKS, pair_rows, pair_view

_COIN, _OTHER = range(2)  # what a random number is for


@dataclass(frozen=True)
class NextSentencePairs(Corruption):
    """BERT's next-sentence prediction (Devlin et al. 2019, section 3.1, task 2).

        text      It rained. We stayed in.          another document      Prices rose. Nobody minded.
        input     [CLS] It rained. [SEP] We stayed in. [SEP]              target 0, is next
        input     [CLS] It rained. [SEP] Nobody minded. [SEP]             target 1, is not
        segment     0   0   …        0   1   …           1

    A document is cut into units of two runs of whole sentences, each as many as fit half the window. A row reads a
    unit; by its own coin it keeps the second run, or takes that of a unit of another document, each as likely. So a
    second segment is as long, and begins and ends as a second segment does, whichever it is: only the words tell.
    Sentences too long for half a window are left out, and so are runs without a second one.
    """

    cuts_pairs: ClassVar[bool] = True

    def spans(self, text: Text, window: int, packing: bool) -> np.ndarray:
        del packing
        units = _units(text, _half(window))
        if len(units) and len(np.unique(_documents(text, _half(window)))) < 2:
            raise ValueError(
                "expected at least 2 documents with room for next-sentence pairs, found 1: give a corpus of several "
                "documents, or learn SentenceOrder, which needs one"
            )
        return np.stack([text.sentences[:, 0][units[:, 0]], text.sentences[:, 1][units[:, 2] - 1]], axis=1)

    def read(self, text: Text, spans: np.ndarray, keys: np.ndarray, window: int, vocabulary: Vocabulary) -> Rows:
        starts, stops = text.sentences[:, 0], text.sentences[:, 1]
        units = _units(text, _half(window))
        own = np.searchsorted(units[:, 0], np.searchsorted(starts, spans[:, 0]))
        documents = _documents(text, _half(window))
        begins, ends = (np.searchsorted(documents, documents[own], side=side) for side in ("left", "right"))
        zero = np.zeros(len(keys), dtype=np.uint64)
        other = below(draw(keys, _OTHER, zero), len(units) - (ends - begins))
        other += (other >= begins) * (ends - begins)  # those of the own document are passed over
        labels = (draw(keys, _COIN, zero) & np.uint64(1)).astype(np.int64)
        second = np.where(labels == 1, other, own)
        pairs = [starts[units[own, 0]], stops[units[own, 1] - 1], starts[units[second, 1]], stops[units[second, 2] - 1]]
        return pair_rows(text, np.stack(pairs, axis=1).reshape(-1, 2, 2), keys, labels, window, vocabulary)

    def corrupt(self, rows: Rows, vocabulary: Vocabulary) -> View:
        del vocabulary
        return pair_view(rows)


def _half(window: int) -> int:
    return (window - MARKS) // 2


@lru_cache(maxsize=8)
def _documents(text: Text, most: int) -> np.ndarray:
    """The document of each unit, `(units,)`."""
    return np.searchsorted(text.documents, text.sentences[:, 0][_units(text, most)[:, 0]], side="right")


@lru_cache(maxsize=8)
def _units(text: Text, most: int) -> np.ndarray:
    """Sentences where each unit's runs start and its second one ends, `(units, 3)`; a text is known by identity."""
    starts, stops = np.asarray(text.sentences[:, 0]), np.asarray(text.sentences[:, 1])
    limits = np.searchsorted(starts, text.documents)
    last = np.repeat(limits[1:], np.diff(limits))  # one past the last sentence of the same document
    ends = np.append(np.minimum(last, np.searchsorted(stops, starts + most, side="right")), len(starts))
    first, middle = np.arange(len(starts)), ends[:-1]
    final = np.minimum(ends[middle], last)
    whole = (middle > first) & (final > middle)
    after = np.where(whole, final, np.maximum(middle, first + 1))
    units = np.stack([first, middle, final], axis=1)
    return units[whole & visited(after)]


def visited(after: np.ndarray) -> np.ndarray:
    """Places that one comes by from place 0, each step leading from a place to `after` it, by doubling the steps."""
    count = len(after)
    jump, seen = np.append(after, count), np.arange(count + 1) == 0
    for _ in range(count.bit_length()):
        seen[jump[seen]] = True
        jump = jump[jump]
    return seen[:-1]
