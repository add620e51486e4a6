"""Prefix language modelling: next-token prediction after a prefix that attends to itself in both directions."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from lm_objectives.corruptions.base import InputTargetCorruption, Layout, check_fraction
from lm_objectives.corruptions.random import randint, random_bits
from lm_objectives.corruptions.windows import FixedLengthWindows, WindowBounds
from lm_objectives.views import Rows, Text, View, Vocabulary

_SPLIT = 0  # what a random number is for


@dataclass(frozen=True)
class PrefixNextToken(InputTargetCorruption):
    """Next-token prediction after a prefix that is seen whole (Raffel et al. 2020, section 3.2.1).

        text                       [BOS]  The   cat   sat    on   the   mat  [EOS]
        layout "prefix"            one row, prefix 3
        input                      [BOS]  The   cat | sat    on   the   mat  [EOS]
        target                       ·     ·    sat   on     the  mat  [EOS]   ·
        layout "encoder-decoder"   the encoder reads the prefix, the decoder writes the rest (section 3.3.1)
        input                      [BOS]  The   cat
        target                      sat    on   the   mat  [EOS]

    Each row is split by its own key, anywhere between two of its tokens as likely. UL2's S denoiser (Tay et al. 2023,
    section 3.1.2) puts a mode token in front, for which windows are one token shorter. Both layouts predict the same
    tokens, and no end where a row breaks off.

    >>> import numpy as np
    >>> from lm_objectives import PrefixNextToken, Rows, Vocabulary
    >>> vocabulary = Vocabulary(size=16, pad=0, bos=1, eos=2, mask=3, special=(0, 1, 2, 3))
    >>> row = np.array([[1, 10, 11, 12, 13, 10, 14, 2]])
    >>> rows = Rows(keys=np.array([7], dtype=np.uint64), input_ids=row, lengths=np.array([8]))
    >>> view = PrefixNextToken(share=0.375).corrupt(rows, vocabulary)
    >>> view.prefix_lengths.tolist(), view.label_positions.tolist(), view.targets.tolist()
    ([3], [2, 3, 4, 5, 6], [12, 13, 10, 14, 2])

    Attributes:
        share: the prefix's part of a row, in (0, 1), the same for all; uniform where it is `None`.
        mode: a token put in front of the prefix, such as UL2's "[S]".
        layout: whether one row holds all of it, or an encoder reads the prefix and a decoder writes the rest.
    """

    share: float | None = None
    mode: str | None = None
    layout: Layout = "prefix"

    def __post_init__(self) -> None:
        if self.share is not None:
            check_fraction(self.share, "prefix share", "leave it out for a uniform split")

    def special_tokens(self, seq_len: int) -> tuple[str, ...]:
        del seq_len
        return self.mode_tokens

    def prefix_and_suffix(self, vocabulary: Vocabulary) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The mode's token and bos: what comes after the prefix is yet to be generated."""
        return (*vocabulary.token_ids(self.mode_tokens).tolist(), vocabulary.bos), ()

    def windows(self, text: Text, seq_len: int, packing: bool) -> WindowBounds:
        del packing
        return FixedLengthWindows(np.asarray(text.documents), seq_len - len(self.mode_tokens))

    def corrupt(self, rows: Rows, vocabulary: Vocabulary) -> View:
        time = rows.input_ids.shape[1]
        if self.mode is not None:  # a full row, as of a window that is shorter for a while, loses its last token
            mode = np.full((len(rows.input_ids), 1), vocabulary.token_ids([self.mode])[0])
            ids = np.concatenate([mode, rows.input_ids[:, :-1]], axis=1)
            rows = replace(rows, input_ids=ids, lengths=np.minimum(rows.lengths + 1, time))
        prefix = self._split(rows.lengths, rows.keys)
        place = np.arange(time)
        predicted = (place >= prefix[:, None]) & (place < rows.lengths[:, None])
        targets = rows.input_ids[predicted]
        counts = {"loss": len(targets)}
        if self.layout == "prefix":
            view = rows.to_view(rows.input_ids, self.attention, np.flatnonzero(predicted) - 1, targets, counts)
            return replace(view, prefix_lengths=torch.from_numpy(prefix))
        read = write = time
        if self.share is not None:  # of a whole row, the most of any
            [read] = self._split(np.array([time]), rows.keys).tolist()
            write = time - read
        source = np.where(place < prefix[:, None], rows.input_ids, vocabulary.pad)[:, :read]
        written = place[:write] < (rows.lengths - prefix)[:, None]
        labels = np.full(written.shape, vocabulary.pad)
        labels[written] = targets
        view = replace(rows, lengths=prefix).to_view(source, self.attention, np.flatnonzero(written), targets, counts)
        return replace(view, decoder_labels=torch.from_numpy(labels))

    def _split(self, lengths: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Tokens of each row's prefix, the mode's and one of the text at least, and all of a row of no more."""
        first = 1 + len(self.mode_tokens)
        rest = np.maximum(lengths - first, 1)
        if self.share is None:
            prefix = first + randint(random_bits(keys, _SPLIT, np.zeros(1)), rest)
        else:
            prefix = np.clip(np.rint(self.share * lengths).astype(np.int64), first, first + rest - 1)
        return np.minimum(prefix, lengths)
