"""T5's span corruption: sentinels replace spans of tokens in the input, and the target restores them."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch

from lm_objectives.corruptions.base import InputTargetCorruption, Layout, check_fraction
from lm_objectives.corruptions.editing import compact_rows
from lm_objectives.corruptions.sampling import concatenated_ranges, count_rows, random_partition
from lm_objectives.corruptions.windows import FixedLengthWindows, WindowBounds, read_stream
from lm_objectives.corruptions.word_units import units_of
from lm_objectives.errors import expect
from lm_objectives.ranges import is_within
from lm_objectives.views import Rows, Text, View, Vocabulary

_KEPT, _NOISE = range(2)  # what a random number is for
_AT_ONCE = 2**12  # rows that are counted


@dataclass(frozen=True)
class SpanCorruption(InputTargetCorruption):
    """T5's objective (Raffel et al. 2020, sections 3.1.4 and 3.3.4); UL2's R and X denoisers (Tay et al. 2023, 3.1).

        text                       Thank  you  for  inviting  me  to  your  party  last  week
        input                      Thank  you  <extra_id_0>  me  to  your  party  <extra_id_1>  [EOS]
        target                     <extra_id_0>  for  inviting  <extra_id_1>  last  week  [EOS]

        layout "encoder-decoder"   the encoder reads the input, the decoder writes the target
        layout "prefix"            one row of the input and the target after it: the input attends to itself both ways,
                                   and each token of the target is predicted from what comes before it

    A row of n tokens has round(noise_density · n) noise tokens in round(noise / mean_noise_span_length) spans, one at
    least. Noise and the rest are both cut into so many parts, every way to cut as likely, and alternate, beginning with
    the rest and ending with noise. Rows are read longer than the window, as many tokens as let input and target each
    fit it (or both together, in one row): 568 of them for 512. They hold no bos or eos of the text, and never more than
    one document. Special tokens, such as [UNK], are never noise; a row with so many that its input would not fit loses
    its end.

    >>> import numpy as np
    >>> from lm_objectives import Rows, SpanCorruption, Vocabulary
    >>> sentinels = (("<extra_id_0>", 20), ("<extra_id_1>", 21))
    >>> vocabulary = Vocabulary(22, pad=0, bos=1, eos=2, mask=3, special=(0, 1, 2, 3, 20, 21), named_tokens=sentinels)
    >>> rows = Rows(np.array([7], dtype=np.uint64), input_ids=np.arange(10, 20)[None], lengths=np.array([10]))
    >>> view = SpanCorruption(noise_density=0.4, mean_noise_span_length=2.0).corrupt(rows, vocabulary)
    >>> view.input_ids.tolist(), view.decoder_labels.tolist()
    ([[10, 20, 12, 13, 14, 15, 16, 21, 2]], [[20, 11, 21, 17, 18, 19, 2]])

    Attributes:
        noise_density: share of the tokens that are noise, in (0, 1); 0.15 is T5's.
        mean_noise_span_length: tokens of a span on average, at least 1; 3.0 is T5's.
        layout: whether one row holds input and target, or each of encoder and decoder one.
        mode: a token put in front of the input, such as UL2's "[R]", "[X]".
    """

    noise_density: float = 0.15
    mean_noise_span_length: float = 3.0
    layout: Layout = "encoder-decoder"
    mode: str | None = None

    def __post_init__(self) -> None:
        check_fraction(self.noise_density, "noise_density", "0.15 is T5's")
        expected = "a mean_noise_span_length of at least 1 token"
        expect(is_within(self.mean_noise_span_length, 1), expected, self.mean_noise_span_length, "3.0 is T5's")

    def special_tokens(self, seq_len: int) -> tuple[str, ...]:
        """As many sentinels as a whole row needs, named as T5's tokenizer names them, and the mode's token."""
        return (*_sentinels(_of_whole(self, self.raw_length(seq_len))[1]), *self.mode_tokens)

    def prefix_and_suffix(self, vocabulary: Vocabulary) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The mode's token, and the end of the input."""
        return tuple(vocabulary.token_ids(self.mode_tokens).tolist()), (vocabulary.eos,)

    def noise_counts(self, tokens: np.ndarray, maskable: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Noise tokens and spans of rows of so many tokens, `(rows,)` all; none where there are fewer than 2.

        Args:
            tokens: of each row.
            maskable: how many of them may be noise, by default all.
        """
        maskable = tokens if maskable is None else maskable
        noise = np.maximum(np.rint(tokens * self.noise_density).astype(np.int64), 1)
        noise = np.minimum(noise, np.maximum(tokens - 1, 0))
        spans = np.maximum(np.rint(noise / self.mean_noise_span_length).astype(np.int64), 1)
        noise = np.minimum(noise, np.maximum(maskable - 1, 0))
        return noise, np.minimum(spans, np.minimum(noise, maskable - noise))

    def input_and_target_lengths(
        self, tokens: np.ndarray, maskable: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Lengths of input and target of rows of so many tokens, with args as in `noise_counts`."""
        noise, spans = self.noise_counts(tokens, maskable)
        return tokens - noise + spans + 1 + len(self.mode_tokens), noise + spans + 1

    def raw_length(self, seq_len: int) -> int:
        """Tokens of the longest row whose input and target fit the window."""
        return _raw_length(self, seq_len)

    def windows(self, text: Text, seq_len: int, packing: bool) -> WindowBounds:
        del packing
        return FixedLengthWindows(np.asarray(text.documents), self.raw_length(seq_len), trim=(1, 1))

    def dropped_counts(self, text: Text, seq_len: int, packing: bool, vocabulary: Vocabulary) -> dict[str, int]:
        windows, cut = self.windows(text, seq_len, packing), 0
        for at in range(0, len(windows), _AT_ONCE):
            some = windows[np.arange(at, min(at + _AT_ONCE, len(windows)))]
            rows = self.read_rows(text, some, np.zeros(len(some), dtype=np.uint64), seq_len, vocabulary)
            cut += int((rows.lengths - self._fitting_lengths(rows.lengths, units_of(rows, vocabulary).maskable)).sum())
        alone = super().dropped_counts(text, seq_len, packing, vocabulary)
        return {**alone, "tokens at the end of rows of too many special ones": cut}

    def read_rows(
        self, text: Text, windows: np.ndarray, keys: np.ndarray, seq_len: int, vocabulary: Vocabulary
    ) -> Rows:
        width = seq_len if self.layout == "prefix" else self.raw_length(seq_len)
        return read_stream(text, windows, keys, width, vocabulary.pad)

    def corrupt(self, rows: Rows, vocabulary: Vocabulary) -> View:
        """The view of rows from `read_rows`: as wide as the window for one row, of the raw length for two."""
        time, pad = rows.input_ids.shape[1], vocabulary.pad
        maskable = units_of(rows, vocabulary).maskable
        rows = replace(rows, lengths=self._fitting_lengths(rows.lengths, maskable))
        real = np.arange(time) < rows.lengths[:, None]
        noise, starts, spans = self._sample_noise(rows, maskable & real)
        widths = _of_whole(self, time)[2:] if self.layout == "encoder-decoder" else (time, time)
        names = vocabulary.token_ids(_sentinels(spans.max(initial=0)))
        sentinels = names[concatenated_ranges(np.zeros_like(spans), spans)]

        # a sentinel replaces a span's first token in the input, and the token before the span in the target
        written, writes = rows.input_ids.copy(), noise.copy()
        written.ravel()[starts - 1], writes.ravel()[starts - 1] = sentinels, True
        target, target_lengths = compact_rows(written, writes, widths[1], pad, (), (vocabulary.eos,))
        read, reads = rows.input_ids.copy(), real & ~noise
        read.ravel()[starts], reads.ravel()[starts] = sentinels, True
        source, lengths = compact_rows(read, reads, widths[0], pad, *self.prefix_and_suffix(vocabulary))

        scored = np.flatnonzero(np.arange(target.shape[1]) < target_lengths[:, None])
        targets, counts = target.ravel()[scored], {"loss": len(scored)}
        if self.layout == "encoder-decoder":
            view = replace(rows, lengths=lengths).to_view(source, self.attention, scored, targets, counts)
            return replace(view, decoder_labels=torch.from_numpy(target))
        row, place = np.divmod(scored, time)
        after = row * time + lengths[row] + place
        source.ravel()[after] = targets
        rows = replace(rows, lengths=lengths + target_lengths)
        view = rows.to_view(source, self.attention, after - 1, targets, counts)
        return replace(view, prefix_lengths=torch.from_numpy(lengths))

    def _fitting_lengths(self, lengths: np.ndarray, maskable: np.ndarray) -> np.ndarray:
        """Tokens that each row may have, `(rows,)`, so that its input fits the encoder; more are cut off at the end."""
        time = maskable.shape[1]
        place, most = np.arange(1, time + 1), _of_whole(self, time)[2]
        long = np.flatnonzero(self.input_and_target_lengths(lengths, count_rows(maskable))[0] > most)
        if self.layout == "prefix" or not len(long):  # in one row, less noise only leaves more room
            return lengths
        fitting = self.input_and_target_lengths(place, np.cumsum(maskable[long], axis=1))[0] <= most
        fitting &= place <= lengths[long, None]
        lengths = lengths.copy()
        lengths[long] = time - np.argmax(fitting[:, ::-1], axis=1)
        return lengths

    def _sample_noise(self, rows: Rows, maskable: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which tokens are noise, `(rows, time)`, special ones never; the spans' flat starts; spans of each row."""
        time = rows.input_ids.shape[1]
        maskable = maskable & (count_rows(maskable) > 1)[:, None]  # one token would be all noise or none
        tokens = count_rows(maskable)
        noise, spans = self.noise_counts(rows.lengths, tokens)
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
def _raw_length(corruption: SpanCorruption, seq_len: int) -> int:
    tokens = np.arange(2, int(seq_len / (1 - corruption.noise_density)) + 3)
    source, target = corruption.input_and_target_lengths(tokens)
    fits = source + target <= seq_len if corruption.layout == "prefix" else np.maximum(source, target) <= seq_len
    return int(tokens[fits][-1])


def _sentinels(count: int | np.integer) -> list[str]:
    """The first sentinels, as T5's tokenizer names them."""
    return [f"<extra_id_{number}>" for number in range(count)]
