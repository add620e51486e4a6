"""T5's span corruption: runs of tokens give way to sentinels, and the target says what stood there."""

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch

from lm_objectives.corruptions.base import Corruption, Layout
from lm_objectives.corruptions.editing import compact_rows
from lm_objectives.corruptions.sampling import concatenated_ranges, count_rows, random_partition
from lm_objectives.corruptions.windows import FixedLengthWindows, WindowBounds, read_stream
from lm_objectives.corruptions.word_units import units_of
from lm_objectives.errors import InputError
from lm_objectives.views import Attention, Rows, Text, View, Vocabulary

_KEPT, _NOISE = range(2)  # what a random number is for


_AT_ONCE = 2**12  # rows that are counted


@dataclass(frozen=True)
class SpanCorruption(Corruption):
    """T5's objective (Raffel et al. 2020, sections 3.1.4 and 3.3.4); UL2's R and X denoisers (Tay et al. 2023, 3.1).

        text                       Thank  you  for  inviting  me  to  your  party  last  week
        input                      Thank  you  <extra_id_0>  me  to  your  party  <extra_id_1>  [EOS]
        target                     <extra_id_0>  for  inviting  <extra_id_1>  last  week  [EOS]

        layout "encoder-decoder"   the encoder reads the input, the decoder writes the target
        layout "prefix"            one row of the input and the target behind it: the input sees itself whole, and each
                                   token of the target is predicted from what stands before it

    A row of n tokens has round(rate · n) noise tokens in round(noise / mean) spans, one at least. Noise and the rest
    are both cut into so many parts, every way to cut as likely, and alternate, beginning with the rest and ending with
    noise. Rows are read longer than the window, as many tokens as let input and target each fit it (or both together,
    in one row): 568 of them for 512. They hold no bos or eos of the text, and never more than one document. Special
    tokens, such as [UNK], are never noise; a row with so many that its input would not fit loses its end.

    Attributes:
        rate: share of the tokens that are noise, in (0, 1); 0.15 is T5's.
        mean: tokens of a span on average, at least 1; 3.0 is T5's.
        layout: who writes the target.
        mode: a token put in front of the input, such as UL2's "[R]", "[X]".
    """

    noise_density: float = 0.15
    mean_noise_span_length: float = 3.0
    layout: Layout = "encoder-decoder"
    mode: str | None = None
    attention: Attention = field(init=False)

    supports_packing: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 < self.noise_density < 1:
            raise InputError(
                f"expected a noise rate between 0 and 1, both excluded, found {self.noise_density}: 0.15 is T5's"
            )
        if not self.mean_noise_span_length >= 1:
            raise InputError(
                f"expected a mean span of at least 1 token, found {self.mean_noise_span_length}: 3.0 is T5's"
            )
        object.__setattr__(self, "attention", "prefix" if self.layout == "prefix" else "bidirectional")

    @property
    def uses_decoder(self) -> bool:
        return self.layout == "encoder-decoder"

    def special_tokens(self, window: int) -> tuple[str, ...]:
        """As many sentinels as a whole row needs, named as T5's tokenizer names them, and the mode's token."""
        return (*_sentinels(_of_whole(self, self.raw_length(window))[1]), *([] if self.mode is None else [self.mode]))

    def prefix_and_suffix(self, vocabulary: Vocabulary) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The mode's token, and the end of the input."""
        mode = [] if self.mode is None else [self.mode]
        return tuple(vocabulary.token_ids(mode).tolist()), (vocabulary.eos,)

    def noise_counts(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Noise tokens and spans of rows of so many tokens, `(rows,)` all; none where there are fewer than 2."""
        noise = np.clip(np.rint(tokens * self.noise_density).astype(np.int64), 1, np.maximum(tokens - 1, 0))
        spans = np.maximum(np.rint(noise / self.mean_noise_span_length).astype(np.int64), 1)
        return noise, np.minimum(spans, np.minimum(noise, tokens - noise))

    def input_and_target_lengths(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lengths of input and target of rows of so many tokens."""
        noise, spans = self.noise_counts(tokens)
        return tokens - noise + spans + 1 + (self.mode is not None), noise + spans + 1

    def raw_length(self, window: int) -> int:
        """Tokens of the longest row whose input and target fit the window."""
        return _raw_length(self, window)

    def windows(self, text: Text, window: int, packing: bool) -> WindowBounds:
        del packing
        return FixedLengthWindows(np.asarray(text.documents), self.raw_length(window), trim=(1, 1))

    def dropped_counts(self, text: Text, window: int, packing: bool, vocabulary: Vocabulary) -> dict[str, int]:
        spans, cut = self.windows(text, window, packing), 0
        for at in range(0, len(spans), _AT_ONCE):
            some = spans[np.arange(at, min(at + _AT_ONCE, len(spans)))]
            rows = self.read_rows(text, some, np.zeros(len(some), dtype=np.uint64), window, vocabulary)
            cut += int((rows.lengths - self._fitting(rows.lengths, units_of(rows, vocabulary).maskable)).sum())
        alone = super().dropped_counts(text, window, packing, vocabulary)
        return {**alone, "tokens at the end of rows of too many special ones": cut}

    def read_rows(self, text: Text, spans: np.ndarray, keys: np.ndarray, window: int, vocabulary: Vocabulary) -> Rows:
        width = window if self.layout == "prefix" else self.raw_length(window)
        return read_stream(text, spans, keys, width, vocabulary.pad)

    def corrupt(self, rows: Rows, vocabulary: Vocabulary) -> View:
        """The view of rows that `read` made: as wide as the window for one row, of the raw length for two."""
        time, pad, eos = rows.input_ids.shape[1], vocabulary.pad, vocabulary.eos
        maskable = units_of(rows, vocabulary).maskable
        rows = replace(rows, lengths=self._fitting(rows.lengths, maskable))
        real = np.arange(time) < rows.lengths[:, None]
        noise, starts, spans = self._noise(rows, maskable & real)
        widths = _of_whole(self, time)[2:] if self.layout == "encoder-decoder" else (time, time)
        names = vocabulary.token_ids(_sentinels(spans.max(initial=0)))
        sentinels = names[concatenated_ranges(np.zeros_like(spans), spans)]
        front = None if self.mode is None else int(vocabulary.token_ids([self.mode])[0])

        # a sentinel takes the place of a span's first token where the span goes, and of the one before where it stays
        written, writes = rows.input_ids.copy(), noise.copy()
        written.ravel()[starts - 1], writes.ravel()[starts - 1] = sentinels, True
        target, target_lengths = compact_rows(written, writes, widths[1], pad, eos)
        read, reads = rows.input_ids.copy(), real & ~noise
        read.ravel()[starts], reads.ravel()[starts] = sentinels, True
        source, lengths = compact_rows(read, reads, widths[0], pad, eos, front)

        scored = np.flatnonzero(np.arange(target.shape[1]) < target_lengths[:, None])
        targets = target.ravel()[scored]
        if self.layout == "encoder-decoder":
            view = _view(rows, source, lengths, self.attention, scored, targets)
            return replace(view, decoder_labels=torch.from_numpy(target))
        row, place = np.divmod(scored, time)
        behind = row * time + lengths[row] + place
        source.ravel()[behind] = targets
        view = _view(rows, source, lengths + target_lengths, self.attention, behind - 1, targets)
        return replace(view, prefix_lengths=torch.from_numpy(lengths))

    def _noise_among(self, lengths: np.ndarray, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Noise tokens and spans of rows of such lengths with so many ordinary tokens, of one shape."""
        noise, spans = self.noise_counts(lengths)
        noise = np.minimum(noise, np.maximum(tokens - 1, 0))
        return noise, np.minimum(spans, np.minimum(noise, tokens - noise))

    def _fitting(self, lengths: np.ndarray, maskable: np.ndarray) -> np.ndarray:
        """Tokens of each row that may stay, `(rows,)`, so that its input fits the encoder; the end goes."""
        time = maskable.shape[1]
        place, most = np.arange(1, time + 1), _of_whole(self, time)[2]

        def fits(lengths: np.ndarray, tokens: np.ndarray) -> np.ndarray:
            noise, spans = self._noise_among(lengths, tokens)
            return lengths - noise + spans + 1 + (self.mode is not None) <= most

        long = np.flatnonzero(~fits(lengths, count_rows(maskable)))
        if self.layout == "prefix" or not len(long):  # in one row, less noise only leaves more room
            return lengths
        fitting = fits(np.broadcast_to(place, (len(long), time)), np.cumsum(maskable[long], axis=1))
        fitting &= place <= lengths[long, None]
        lengths = lengths.copy()
        lengths[long] = time - np.argmax(fitting[:, ::-1], axis=1)
        return lengths

    def _noise(self, rows: Rows, maskable: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which tokens are noise, `(rows, time)`, special ones never; where spans start, flat; spans of each row."""
        time = rows.input_ids.shape[1]
        maskable = maskable & (count_rows(maskable) > 1)[:, None]  # one token would be all noise or none
        tokens = count_rows(maskable)
        noise, spans = self._noise_among(rows.lengths, tokens)
        kept_parts = random_partition(rows.keys, _KEPT, tokens - noise, spans, time)
        noise_parts = random_partition(rows.keys, _NOISE, noise, spans, _of_whole(self, time)[0])
        ends = np.cumsum(np.stack([kept_parts, noise_parts], axis=1))
        positions = np.flatnonzero(maskable)
        is_noise = np.zeros(rows.input_ids.shape, dtype=bool)
        is_noise.ravel()[positions[concatenated_ranges(ends[0::2], noise_parts)]] = True
        return is_noise, positions[ends[0::2]], spans


@lru_cache(maxsize=32)
def _of_whole(corruption: SpanCorruption, tokens: int) -> tuple[int, int, int, int]:
    """Noise tokens, spans, and lengths of input and target of a row of so many tokens."""
    row = np.array([tokens])
    (noise, spans), (source, target) = corruption.noise_counts(row), corruption.input_and_target_lengths(row)
    return int(noise[0]), int(spans[0]), int(source[0]), int(target[0])


@lru_cache(maxsize=32)
def _raw_length(corruption: SpanCorruption, window: int) -> int:
    tokens = np.arange(2, int(window / (1 - corruption.noise_density)) + 3)
    source, target = corruption.input_and_target_lengths(tokens)
    fits = source + target <= window if corruption.layout == "prefix" else np.maximum(source, target) <= window
    return int(tokens[fits][-1])


def _sentinels(count: int | np.integer) -> list[str]:
    """The first sentinels, as T5's tokenizer names them."""
    return [f"<extra_id_{number}>" for number in range(count)]


def _view(
    rows: Rows, ids: np.ndarray, lengths: np.ndarray, attention: Attention, scored: np.ndarray, targets: np.ndarray
) -> View:
    return replace(rows, lengths=lengths).to_view(ids, attention, scored, targets, {"loss": len(scored)})
