"""The contract of a corruption, the data half of an objective, and the view that it makes."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

Attention = Literal["causal", "bidirectional", "prefix"]
Frame = Literal["none", "bos", "bos-eos"]
"""What stands around the text of a row: nothing, bos in front of it, or bos in front and eos behind."""
FRAME_TOKENS: dict[Frame, tuple[str, ...]] = {"none": (), "bos": ("bos",), "bos-eos": ("bos", "eos")}
"""The special tokens of each frame, as `Vocabulary` names them."""
Layout = Literal["encoder-decoder", "prefix"]
"""Where what is read and what is written stand: behind an encoder and a decoder, or in one row, the former a prefix."""


@dataclass(frozen=True)
class Vocabulary:
    """The token ids that corruptions and heads need to know of a tokenizer.

    Attributes:
        size: rows of the embedding.
        pad, bos, eos, mask: ids of the special tokens (bos is BERT's `[CLS]`, eos its `[SEP]`).
        special: ids that are never masked, sampled as a random token, or scored as one.
        named: ids of the further special tokens that corruptions ask for (see `Corruption.tokens`), by token.
        starts_word: whether a token begins a word, `(vocab,)`; `None` where no tokenizer is at hand.
        breaks_line: whether a token ends in a line break or a tab, behind which a word begins, `(vocab,)`; `None` as
            above.
    """

    size: int
    pad: int
    bos: int
    eos: int
    mask: int
    special: tuple[int, ...] = ()
    named_tokens: tuple[tuple[str, int], ...] = ()
    starts_word: np.ndarray | None = field(default=None, repr=False, compare=False)
    breaks_line: np.ndarray | None = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """All but the arrays, as plain data for JSON and checkpoints."""
        plain = {item.name: getattr(self, item.name) for item in fields(self) if item.compare}
        return {**plain, "special": list(self.special), "named": [list(pair) for pair in self.named_tokens]}

    @staticmethod
    def from_dict(ids: dict[str, Any], **words: np.ndarray) -> "Vocabulary":
        """The vocabulary that `ids` wrote down."""
        named = tuple((str(token), int(number)) for token, number in ids.get("named", ()))
        lists = {"special": tuple(ids["special"]), "named": named}
        return Vocabulary(**{**ids, **lists, **words})


@runtime_checkable  # beartype checks signatures under pytest
class Text(Protocol):
    """Tokenized documents one after another, as the token cache holds them (see `data.cache.TokenText`)."""

    @property
    def tokens(self) -> np.ndarray:
        """Ids of all documents, `(tokens,)`; a document is bos, its text, eos."""

    @property
    def sentences(self) -> np.ndarray:
        """Where each starts and stops in `tokens`, `(sentences, 2)`; those of a paragraph follow one another.

        Bos, eos and the white space between paragraphs lie in none.
        """

    @property
    def paragraphs(self) -> np.ndarray:
        """Number of the first sentence of each paragraph, and of all sentences at the end, `(paragraphs + 1,)`."""

    @property
    def documents(self) -> np.ndarray:
        """Where each document starts in `tokens`, and where the last stops, `(documents + 1,)`."""

    def __hash__(self) -> int:
        """By identity, so that what is found out about a text can be kept."""


@dataclass(frozen=True, eq=False)
class View:
    """What an objective reads.

    Attributes:
        ids: input tokens, padded on the right.
        lengths: tokens of each row that are not padding.
        attention: whether a position sees those before it, all, or those before it and all of a prefix.
        scored: flat positions, `row * time + position`, that the loss is over, ascending.
        targets: what is right at each scored position: a token id, or a label.
        counts: number of terms of each part of the loss; what the sums of the whole step are divided by.
        padded: whether any row has padding, known here so that a device need not be asked.
        positions: place of each token within its document's part of the row; a new part starts at each 0, and sees
            only itself. `None` where every row is one part.
        prefix: tokens at the start of each row that see one another, where `attention` is "prefix".
        decoder: what a decoder writes, padded on the right, where there is one: it reads the same one place later,
            behind the start token of its family. `scored` then counts its positions, `row * target time + position`.
        segments: 0 for a pair's first segment and 1 for its second, where rows are pairs.
        uniforms: one random number in [0, 1) for each scored position, where the model's half samples.
        extra: further tensors that an objective's halves hand one another.
    """

    input_ids: Int[Tensor, "rows time"]
    lengths: Int[Tensor, " rows"]
    attention: Attention
    label_positions: Int[Tensor, " label_positions"]
    targets: Int[Tensor, " label_positions"]
    counts: dict[str, int]
    padded: bool = False
    position_ids: Int[Tensor, "rows time"] | None = None
    prefix_lengths: Int[Tensor, " rows"] | None = None
    decoder_labels: Int[Tensor, "rows target_time"] | None = None
    token_type_ids: Int[Tensor, "rows time"] | None = None
    sampling_noise: Float[Tensor, " label_positions"] | None = None
    extra: dict[str, Tensor] = field(default_factory=dict)

    def _map(self, call: Any) -> "View":
        moved: dict[str, Any] = {
            f.name: call(value) for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)
        }
        return replace(self, **moved, extra={name: call(value) for name, value in self.extra.items()})

    def to(self, *args: Any, **kwargs: Any) -> "View":
        """The view on another device; only a device may be given. Page-locked tensors are not waited for."""
        return self._map(lambda tensor: tensor.to(*args, **{"non_blocking": tensor.is_pinned()} | kwargs))

    def pin_memory(self) -> "View":
        """The view in page-locked memory."""
        return self._map(Tensor.pin_memory)


@dataclass(frozen=True)
class Rows:
    """Clean rows on their way to a view: what was read, before anything is corrupted.

    Attributes:
        keys: a 64-bit number for each row, from which all its random numbers are drawn, `(rows,)`.
        ids: tokens padded on the right, `(rows, time)`.
        lengths: tokens of each row that are not padding, `(rows,)`.
        positions: as in `View`.
        sentences: where a sentence starts, `(rows, time)`, for corruptions that ask for it.
        segments: as in `View`.
        labels: one label for each row, for corruptions that decide something about a row as a whole.
    """

    keys: np.ndarray
    input_ids: np.ndarray
    lengths: np.ndarray
    position_ids: np.ndarray | None = None
    sentence_starts: np.ndarray | None = None
    token_type_ids: np.ndarray | None = None
    labels: np.ndarray | None = None


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


class Corruption(ABC):
    """From text to input and target, as a pure function of each row's key.

    Plain data: no parameters, picklable, the same in every worker. Its random numbers come from `corruption.keyed`
    alone, so a row does not depend on batch size, workers, ranks, accumulation or a resume.
    """

    attention: Attention = "bidirectional"

    frame: Frame = "none"
    """What stands around the text of each row that `read` copies; it takes its places of the window."""

    supports_packing: ClassVar[bool] = True
    """Whether a row may hold parts of several documents, which see only themselves."""

    needs_sentence_starts: ClassVar[bool] = False
    """Whether `Rows.sentences` is wanted."""

    reads_sentence_pairs: ClassVar[bool] = False
    """Whether its rows are pairs of sentences, which it reads from a text in which each sentence is encoded alone: in
    the text as it stands a missing space, or a line break, would tell which of them begins a paragraph."""

    @property
    def uses_decoder(self) -> bool:
        """Whether its views have a decoder write, which takes a backbone with an encoder and a decoder."""
        return False

    def special_tokens(self, window: int) -> tuple[str, ...]:
        """Special tokens that it needs besides pad, bos, eos and mask; `Vocabulary.named` has their ids."""
        del window
        return ()

    def prefix_and_suffix(self, vocabulary: Vocabulary) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Special tokens in front of a text that the model is given to read, and behind it; an exported tokenizer adds
        them. The default is a whole document's bos and eos."""
        return (vocabulary.bos,), (vocabulary.eos,)

    def windows(self, text: Text, window: int, packing: bool) -> WindowBounds:
        """Where each of the objective's windows starts and stops in `text.tokens`.

        An epoch of the objective is all of them, each once. The default cuts the stream of all documents every
        `window` tokens, less those of the frame, where rows are packed, and each document on its own where not. A last
        token that would be alone is left out: nothing could be learned from it.
        """
        room = window - frame_length(self.frame)
        if packing and self.supports_packing:
            return FixedLengthWindows(np.array([0, len(text.tokens)]), room)
        trim = int(self.frame != "none"), int(self.frame == "bos-eos")  # the document's own would be framed again
        return FixedLengthWindows(np.asarray(text.documents), room, trim)

    def dropped_counts(self, text: Text, window: int, packing: bool, vocabulary: Vocabulary) -> dict[str, int]:
        """What of the text no row holds, how much of it by the reason why; for people to read."""
        del vocabulary
        spans = self.windows(text, window, packing)
        return {"last tokens that would be alone": spans.dropped_single_tokens} if isinstance(spans, FixedLengthWindows) else {}

    def read_rows(self, text: Text, spans: np.ndarray, keys: np.ndarray, window: int, vocabulary: Vocabulary) -> Rows:
        """Clean rows of the `spans`, `(rows, 2)`. The default copies the tokens as they stand, and frames them."""
        room = window - frame_length(self.frame)
        rows = read_stream(text, spans, keys, room, vocabulary.pad, self.needs_sentence_starts)
        return rows if self.frame == "none" else add_frame(rows, text, spans, self.frame, vocabulary)

    def at_step(self, step: int, steps: int) -> "Corruption":
        """The corruption of rows that are read at an optimizer step, where its settings change over the training.

        Args:
            step: optimizer step.
            steps: optimizer steps of the whole training, -1 where nothing bounds it.
        """
        del step, steps
        return self

    @abstractmethod
    def corrupt(self, rows: Rows, vocabulary: Vocabulary) -> View:
        """Input and target from clean rows; must not write into `rows`."""

    def for_validation(self) -> "Corruption":
        """The corruption that held-out rows are made with, the same whatever a run trains with."""
        return self


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


def as_view(
    rows: Rows,
    ids: np.ndarray,
    attention: Attention,
    scored: np.ndarray,
    targets: np.ndarray,
    counts: dict[str, int],
    uniforms: np.ndarray | None = None,
) -> View:
    """A view of `ids` in the shape of `rows`, as tensors."""
    return View(
        input_ids=torch.from_numpy(ids),
        lengths=torch.from_numpy(rows.lengths),
        attention=attention,
        label_positions=torch.from_numpy(scored),
        targets=torch.from_numpy(targets),
        counts=counts,
        padded=bool((rows.lengths < ids.shape[1]).any()),
        position_ids=None if rows.position_ids is None else torch.from_numpy(rows.position_ids),
        token_type_ids=None if rows.token_type_ids is None else torch.from_numpy(rows.token_type_ids),
        sampling_noise=None if uniforms is None else torch.from_numpy(uniforms),
    )
