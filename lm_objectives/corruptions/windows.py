"""Windows of a text, and the rows that are read from them."""

from dataclasses import replace
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lm_objectives.corruptions.random import row_keys
from lm_objectives.corruptions.sampling import concatenated_ranges
from lm_objectives.views import Rows, Text, Vocabulary

Frame = Literal["none", "bos", "bos-eos"]
"""Special tokens around the text of a row: none, bos before it, or bos before it and eos after it."""

FRAME_TOKENS: dict[Frame, tuple[str, ...]] = {"none": (), "bos": ("bos",), "bos-eos": ("bos", "eos")}
"""The special tokens of each frame, as `Vocabulary` names them."""


@runtime_checkable
class WindowBounds(Protocol):
    """Starts and stops of windows, `(windows, 2)`, made when asked for: an array is one."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: np.ndarray, /) -> np.ndarray: ...


class FixedLengthWindows:
    """Windows of `length` tokens, cut from each stretch of a text; a last token that would be alone is left out.

        stretches 0 to 5 and 5 to 11, length 2      (0, 2) (2, 4) | (5, 7) (7, 9) (9, 11)

    Args:
        bounds: where each stretch starts, and where the last stops, `(stretches + 1,)`.
        length: tokens of a whole window.
        trim: tokens at the start and at the end of each stretch that lie in no window.
    """

    def __init__(self, bounds: np.ndarray, length: int, trim: tuple[int, int] = (0, 0)) -> None:
        self._starts, self._stops, self._length = bounds[:-1] + trim[0], bounds[1:] - trim[1], length
        lengths = self._stops - self._starts
        self._ends = np.cumsum(np.where(lengths > 1, -(-(lengths - 1) // length), 0))

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @property
    def dropped_single_tokens(self) -> int:
        """Stretches whose last token would be alone in a window, and lies in none."""
        return int(np.count_nonzero((self._stops - self._starts) % self._length == 1))

    def __getitem__(self, index: np.ndarray, /) -> np.ndarray:
        """Start and stop of the windows number `index`, `(n,)` to `(n, 2)`."""
        stretch = np.searchsorted(self._ends, index, side="right")
        before = self._ends[stretch - 1] * (stretch > 0)
        starts = self._starts[stretch] + (index - before) * self._length
        return np.stack([starts, np.minimum(starts + self._length, self._stops[stretch])], axis=-1)


def read_stream(
    text: Text, windows: np.ndarray, keys: np.ndarray, seq_len: int, pad: int, marks_sentences: bool = False
) -> Rows:
    """Rows of the tokens of `windows`, `(rows, 2)`, with position ids where one has parts of several documents."""
    starts, lengths = windows[:, 0], windows[:, 1] - windows[:, 0]
    place = np.arange(seq_len)
    tokens = np.asarray(text.tokens)
    if starts.max(initial=0) + seq_len <= len(tokens):
        ids = sliding_window_view(tokens, seq_len)[starts]  # copies whole rows, several times as fast as by token
    else:  # a row at the end
        ids = tokens.take(starts[:, None] + place, mode="clip")
    ids = ids.astype(np.int64)
    if (lengths < seq_len).any():
        ids[place >= lengths[:, None]] = pad
    documents, positions = np.asarray(text.documents), None
    several = np.searchsorted(documents, starts, side="right") < np.searchsorted(documents, windows[:, 1])
    if several.any():
        begins = _mark(documents, windows[several], seq_len)
        begins[:, 0] = True
        positions = np.repeat(place[None], len(windows), axis=0)
        positions[several] = position_ids_from(begins)
    sentences = _mark(text.sentences[:, 0], windows, seq_len) if marks_sentences else None
    return Rows(keys, ids, lengths.astype(np.int64), positions, sentences)


def frame_length(frame: Frame) -> int:
    """Tokens of a frame."""
    return len(FRAME_TOKENS[frame])


def add_frame(rows: Rows, text: Text, windows: np.ndarray, frame: Frame, vocabulary: Vocabulary) -> Rows:
    """Rows with bos before them, unless they begin a document, and with "bos-eos" one eos after them.

        text        [BOS] It rained. [EOS] [BOS] We stayed in. [EOS]
        windows     [BOS] It rained. | [EOS] [BOS] We | stayed in. [EOS]
        "bos-eos"   [BOS] It rained. [EOS]   [BOS] [EOS] [BOS] We [EOS]   [BOS] stayed in. [EOS]

    In a row of parts of several documents bos belongs to the first part and eos to the last.

    Args:
        rows: copies of the tokens of `windows`, `(rows, room)`.
        text: which the windows are of.
        windows: `(rows, 2)`.
        frame: its tokens make the rows wider.
        vocabulary: bos, eos and pad.
    """
    time = rows.input_ids.shape[1]
    adds_bos, adds_eos = ~_among(np.asarray(text.documents), windows).T

    def widen(array: np.ndarray, fill: int) -> np.ndarray:
        wide = np.full((len(array), time + frame_length(frame)), fill, dtype=array.dtype)
        wide[adds_bos, 1 : time + 1], wide[~adds_bos, :time] = array[adds_bos], array[~adds_bos]
        return wide

    ids, lengths = widen(rows.input_ids, vocabulary.pad), rows.lengths + adds_bos
    ids[adds_bos, 0] = vocabulary.bos
    if frame == "bos-eos":
        ids[adds_eos, lengths[adds_eos]] = vocabulary.eos
        lengths = lengths + adds_eos
    positions = sentences = None
    if rows.position_ids is not None:
        begins = widen(rows.position_ids == 0, False)
        begins[adds_bos, 1] = False
        begins[:, 0] = True
        positions = position_ids_from(begins)
    if rows.sentence_starts is not None:
        sentences = widen(rows.sentence_starts, False)
    return replace(rows, input_ids=ids, lengths=lengths, position_ids=positions, sentence_starts=sentences)


def _among(places: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Which of the `wanted` are among the ascending `places`, of the shape of `wanted`."""
    return places.take(np.searchsorted(places, wanted), mode="clip") == wanted


def position_ids_from(begins: np.ndarray) -> np.ndarray:
    """Place of each token within its part of the row, from where parts begin; both `(rows, time)`."""
    place = np.arange(begins.shape[1])
    return place - np.maximum.accumulate(np.where(begins, place, 0), axis=1)


def _mark(places: np.ndarray, windows: np.ndarray, seq_len: int) -> np.ndarray:
    """Which tokens of the `windows` are at one of the ascending `places`, `(rows, seq_len)`."""
    first, last = (np.searchsorted(places, windows[:, side]) for side in range(2))
    row = np.repeat(np.arange(len(windows)), last - first)
    marks = np.zeros((len(windows), seq_len), dtype=bool)
    marks[row, places[concatenated_ranges(first, last - first)] - windows[row, 0]] = True
    return marks


class SplitWindows:
    """Each window cut into `cuts` shorter ones of `room` tokens; empty ones are left out.

    The last tokens of a window lie in none where each of the shorter rows has a frame of its own.

    Attributes:
        windows: starts and stops of the shorter ones, `(rows, 2)`.
    """

    def __init__(self, windows: np.ndarray, cuts: int, room: int) -> None:
        starts = windows[:, :1] + np.arange(cuts) * room
        stops = np.minimum(starts + room, windows[:, 1:])
        self._cuts, self._kept = cuts, (starts < stops).ravel()
        self.windows = np.stack([starts, stops], axis=-1).reshape(-1, 2)[self._kept]

    def keys(self, whole: np.ndarray) -> np.ndarray:
        """The keys of the shorter rows from those of the windows."""
        return np.concatenate([row_keys(key, np.arange(1, self._cuts + 1)) for key in whole])[self._kept]
