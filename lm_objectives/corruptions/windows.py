"""Windows of a text, and the rows that are read from them."""

from dataclasses import replace
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lm_objectives.corruptions.random import row_keys
from lm_objectives.views import Rows, Text, Vocabulary

Frame = Literal["none", "bos", "bos-eos"]
"""What stands around the text of a row: nothing, bos in front of it, or bos in front and eos behind."""


FRAME_TOKENS: dict[Frame, tuple[str, ...]] = {"none": (), "bos": ("bos",), "bos-eos": ("bos", "eos")}
"""The special tokens of each frame, as `Vocabulary` names them."""


@runtime_checkable
class WindowBounds(Protocol):
    """Starts and stops of windows, `(windows, 2)`, made when asked for: an array is one."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: np.ndarray, /) -> np.ndarray: ...


class FixedLengthWindows:
    """Stretches of a text, each cut every `window` tokens; a last token that would be alone is left out.

        stretches 0 to 5 and 5 to 11, window 2      (0, 2) (2, 4) | (5, 7) (7, 9) (9, 11)

    Args:
        bounds: where each stretch starts, and where the last stops, `(stretches + 1,)`.
        window: tokens of a whole window.
        trim: tokens at the start and at the end of each stretch that lie in no window.
    """

    def __init__(self, bounds: np.ndarray, window: int, trim: tuple[int, int] = (0, 0)) -> None:
        self._starts, self._stops, self._window = bounds[:-1] + trim[0], bounds[1:] - trim[1], window
        lengths = self._stops - self._starts
        self._ends = np.cumsum(np.where(lengths > 1, -(-(lengths - 1) // window), 0))

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @property
    def dropped_single_tokens(self) -> int:
        """Stretches whose last token would be alone in a window, and lies in none."""
        return int(np.count_nonzero((self._stops - self._starts) % self._window == 1))

    def __getitem__(self, index: np.ndarray, /) -> np.ndarray:
        """Start and stop of the windows number `index`, `(n,)` to `(n, 2)`."""
        stretch = np.searchsorted(self._ends, index, side="right")
        before = self._ends[stretch - 1] * (stretch > 0)
        starts = self._starts[stretch] + (index - before) * self._window
        return np.stack([starts, np.minimum(starts + self._window, self._stops[stretch])], axis=-1)


def read_stream(
    text: Text, spans: np.ndarray, keys: np.ndarray, window: int, pad: int, marks_sentences: bool = False
) -> Rows:
    """Rows that copy the tokens of `spans`, `(rows, 2)`, with the parts of several documents told apart."""
    starts, lengths = spans[:, 0], spans[:, 1] - spans[:, 0]
    place = np.arange(window)
    tokens = np.asarray(text.tokens)
    if starts.max(initial=0) + window <= len(tokens):
        ids = sliding_window_view(tokens, window)[starts]  # copies whole rows, several times as fast as by token
    else:  # a row at the end
        ids = tokens.take(starts[:, None] + place, mode="clip")
    ids = ids.astype(np.int64)
    if (lengths < window).any():
        ids[place >= lengths[:, None]] = pad
    documents, positions = np.asarray(text.documents), None
    parted = np.searchsorted(documents, starts, side="right") < np.searchsorted(documents, spans[:, 1])
    if parted.any():
        begins = _marks(documents, spans[parted], window)
        begins[:, 0] = True
        positions = np.repeat(place[None], len(spans), axis=0)
        positions[parted] = position_ids_from(begins)
    sentences = _marks(text.sentences[:, 0], spans, window) if marks_sentences else None
    return Rows(keys, ids, lengths.astype(np.int64), positions, sentences)


def frame_length(frame: Frame) -> int:
    """Places of a row that its frame takes."""
    return len(FRAME_TOKENS[frame])


def add_frame(rows: Rows, text: Text, spans: np.ndarray, frame: Frame, vocabulary: Vocabulary) -> Rows:
    """Rows with bos in front, unless they begin a document, and with "bos-eos" one eos at the end.

        text        [BOS] It rained. [EOS] [BOS] We stayed in. [EOS]
        windows     [BOS] It rained. | [EOS] [BOS] We | stayed in. [EOS]
        "bos-eos"   [BOS] It rained. [EOS]   [BOS] [EOS] [BOS] We [EOS]   [BOS] stayed in. [EOS]

    In a row of parts of several documents bos belongs to the first part and eos to the last.

    Args:
        rows: which copy the tokens of `spans`, `(rows, room)`.
        text: where the spans lie.
        spans: `(rows, 2)`.
        frame: its tokens make the rows wider.
        vocabulary: has bos, eos and pad.
    """
    documents, row = np.asarray(text.documents), np.arange(len(rows.input_ids))
    led, ended = (~_among(documents, spans[:, side]) for side in range(2))
    wider = (0, 0), (1, frame_length(frame) - 1)

    def moved(array: np.ndarray, fill: int) -> np.ndarray:
        """One place to the right where bos is put in front."""
        wide = np.pad(array, wider, constant_values=fill)
        wide[~led, :-1] = wide[~led, 1:]
        wide[~led, -1] = fill
        return wide

    ids, lengths = moved(rows.input_ids, vocabulary.pad), rows.lengths + led
    ids[led, 0] = vocabulary.bos
    if frame == "bos-eos":
        ids[row[ended], lengths[ended]] = vocabulary.eos
        lengths = lengths + ended
    positions = sentences = None
    if rows.position_ids is not None:
        begins = moved(rows.position_ids == 0, False)
        begins[led, 1] = False
        begins[:, 0] = True
        positions = position_ids_from(begins)
    if rows.sentence_starts is not None:
        sentences = moved(rows.sentence_starts, False)
    return replace(rows, input_ids=ids, lengths=lengths, position_ids=positions, sentence_starts=sentences)


def _among(places: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Which of the `wanted` are among the ascending `places`."""
    return places.take(np.searchsorted(places, wanted), mode="clip") == wanted


def position_ids_from(begins: np.ndarray) -> np.ndarray:
    """Place of each token within its part of the row, from where parts begin; both `(rows, time)`."""
    place = np.arange(begins.shape[1])
    return place - np.maximum.accumulate(np.where(begins, place, 0), axis=1)


def _marks(places: np.ndarray, spans: np.ndarray, window: int) -> np.ndarray:
    """Which tokens of the `spans` stand at one of the ascending `places`, `(rows, window)`."""
    first, last = (np.searchsorted(places, spans[:, side]) for side in range(2))
    counts = last - first
    row = np.repeat(np.arange(len(spans)), counts)
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    marks = np.zeros((len(spans), window), dtype=bool)
    marks[row, places[first[row] + number] - spans[row, 0]] = True
    return marks


class SplitWindows:
    """Each of some windows as `cuts` shorter ones of `room` tokens, one after the other; empty ones are left out.

    The last tokens of a window lie in none where the shorter rows have each a frame of their own.

    Attributes:
        spans: starts and stops of the shorter ones, `(rows, 2)`.
    """

    def __init__(self, spans: np.ndarray, cuts: int, room: int) -> None:
        starts = spans[:, :1] + np.arange(cuts) * room
        stops = np.minimum(starts + room, spans[:, 1:])
        self._cuts, self._kept = cuts, (starts < stops).ravel()
        self.windows = np.stack([starts, stops], axis=-1).reshape(-1, 2)[self._kept]

    def keys(self, whole: np.ndarray) -> np.ndarray:
        """The keys of the shorter rows from those of the windows."""
        return np.concatenate([row_keys(key, np.arange(1, self._cuts + 1)) for key in whole])[self._kept]
