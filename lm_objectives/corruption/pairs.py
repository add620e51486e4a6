"""Sentence order: two consecutive segments of one document, in their order or swapped."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from lm_objectives.corruption.base import Corruption, Rows, Text, View, Vocabulary, as_view, pad_rows
from lm_objectives.corruption.keyed import below, draw

_CUT, _SWAP = range(2)  # what a random number is for


@dataclass(frozen=True)
class SegmentPairs(Corruption):
    """ALBERT's sentence order (Lan et al. 2020, section 3.1).

        text    It rained. We stayed in. Nobody minded.
        input   [CLS] It rained. We stayed in. [SEP] Nobody minded. [SEP]       target 0, in order
        input   [CLS] Nobody minded. [SEP] It rained. We stayed in. [SEP]       target 1, swapped
        segment   0   0   …                    1   …

    Both segments start and end at a sentence's boundary and fit the window whole, so that the order cannot be told
    from truncation. Where a unit is cut, and the coin, are the row's own. Sentences too long for the window are left
    out, and so are units of one sentence.

    Attributes:
        within: whether both segments come from one paragraph, or may lie across paragraphs of one document.
    """

    within: Literal["paragraph", "document"] = "paragraph"

    def spans(self, text: Text, window: int, packing: bool) -> np.ndarray:
        del packing
        starts, stops = text.sentences[:, 0], text.sentences[:, 1]
        limits = np.asarray(text.paragraphs) if self.within == "paragraph" else np.searchsorted(starts, text.documents)
        last = np.repeat(limits[1:], np.diff(limits))  # one past the last sentence that may share a unit, (sentences,)
        fits = np.searchsorted(stops, starts + (window - 3), side="right")  # bos and two eos take three places
        after = np.minimum(last, fits)
        units, sentence = [], 0
        while sentence < len(starts):
            if after[sentence] - sentence >= 2:
                units.append((starts[sentence], stops[after[sentence] - 1]))
            sentence = max(after[sentence], sentence + 1)
        return np.array(units, dtype=np.int64).reshape(-1, 2)

    def read(self, text: Text, spans: np.ndarray, keys: np.ndarray, window: int, vocabulary: Vocabulary) -> Rows:
        starts, stops = text.sentences[:, 0], text.sentences[:, 1]
        first = np.searchsorted(starts, spans[:, 0])
        inner = np.searchsorted(starts, spans[:, 1]) - first - 1  # boundaries inside a unit, at least 1
        zero = np.zeros(len(keys), dtype=np.uint64)
        cut = first + 1 + below(draw(keys, _CUT, zero), inner)
        swapped = (draw(keys, _SWAP, zero) & np.uint64(1)).astype(np.int64)
        bos, eos = [vocabulary.bos], [vocabulary.eos]
        rows, seconds = [], []
        for (start, stop), boundary, swap in zip(spans, cut, swapped, strict=True):
            segments = [text.tokens[start : stops[boundary - 1]], text.tokens[starts[boundary] : stop]]
            head, tail = segments[::-1] if swap else segments
            rows.append(np.concatenate([bos, head, eos, tail, eos]))
            seconds.append(len(head) + 2)
        ids, lengths = pad_rows(rows, window, vocabulary.pad)
        position = np.arange(window)
        segment = (position >= np.array(seconds)[:, None]) & (position < lengths[:, None])
        return Rows(keys, ids, lengths, segments=segment.astype(np.int64), labels=swapped)

    def corrupt(self, rows: Rows, vocabulary: Vocabulary) -> View:
        del vocabulary
        assert rows.labels is not None
        first = np.arange(len(rows.ids)) * rows.ids.shape[1]
        return as_view(rows, rows.ids, self.attention, first, rows.labels, {"loss": len(rows.ids)})
