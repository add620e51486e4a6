"""Prefix language modelling: next-token prediction after a prefix that attends to itself in both directions."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch

from lm_objectives.corruptions.base import Corruption, Layout
from lm_objectives.corruptions.random import randint, random_bits
from lm_objectives.corruptions.windows import FixedLengthWindows, WindowBounds
from lm_objectives.errors import InputError
from lm_objectives.views import Attention, Rows, Text, View, Vocabulary

_SPLIT = 0  # what a random number is for


@dataclass(frozen=True)
class PrefixNextToken(Corruption):
    """A prefix that sees itself whole, and the next token behind it (Raffel et al. 2020, section 3.2.1).

        text                       [BOS]  The   cat   sat    on   the   mat  [EOS]
        layout "prefix"            one row, prefix 3
        input                      [BOS]  The   cat | sat    on   the   mat  [EOS]
        target                       ·     ·    sat   on     the  mat  [EOS]   ·
        layout "encoder-decoder"   the encoder reads the prefix, the decoder writes the rest (section 3.3.1)
        input                      [BOS]  The   cat
        target                      sat    on   the   mat  [EOS]

    The split is the row's own, anywhere between two of its tokens as likely. UL2's S denoiser (Tay et al. 2023, section
    3.1.2) puts a mode token in front, for which windows are one token shorter. Both layouts write the same tokens, and
    no end where a row breaks off.

    Attributes:
        share: the prefix's part of a row, in (0, 1), the same for all; uniform where it is `None`.
        mode: a token put in front of the prefix, such as UL2's "[S]".
        layout: who writes what stands behind the prefix.
    """

    share: float | None = None
    mode: str | None = None
    layout: Layout = "prefix"
    attention: Attention = field(init=False)

    supports_packing: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.share is not None and not 0 < self.share < 1:
            raise InputError(
                f"expected a prefix share between 0 and 1, both excluded, found {self.share}: leave it out for a "
                "uniform split"
            )
        object.__setattr__(self, "attention", "prefix" if self.layout == "prefix" else "bidirectional")

    @property
    def uses_decoder(self) -> bool:
        return self.layout == "encoder-decoder"

    def special_tokens(self, window: int) -> tuple[str, ...]:
        del window
        return () if self.mode is None else (self.mode,)

    def prefix_and_suffix(self, vocabulary: Vocabulary) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The mode's token and bos: what stands behind the prefix is yet to be written."""
        mode = [] if self.mode is None else [self.mode]
        return (*vocabulary.token_ids(mode).tolist(), vocabulary.bos), ()

    def windows(self, text: Text, window: int, packing: bool) -> WindowBounds:
        del packing
        return FixedLengthWindows(np.asarray(text.documents), window - len(self.special_tokens(window)))

    def corrupt(self, rows: Rows, vocabulary: Vocabulary) -> View:
        time = rows.input_ids.shape[1]
        if self.mode is not None:  # a full row, as of a window that is shorter for a while, loses its last token
            mode = np.full((len(rows.input_ids), 1), vocabulary.token_ids([self.mode])[0])
            ids = np.concatenate([mode, rows.input_ids[:, :-1]], axis=1)
            rows = replace(rows, input_ids=ids, lengths=np.minimum(rows.lengths + 1, time))
        prefix = self._split(rows.lengths, rows.keys)
        place = np.arange(time)
        written = (place >= prefix[:, None]) & (place < rows.lengths[:, None])
        targets = rows.input_ids[written]
        counts = {"loss": len(targets)}
        if self.layout == "prefix":
            view = rows.to_view(rows.input_ids, self.attention, np.flatnonzero(written) - 1, targets, counts)
            return replace(view, prefix_lengths=torch.from_numpy(prefix))
        read, write = (time, time) if self.share is None else self._widths(time)
        source = np.where(place < prefix[:, None], rows.input_ids, vocabulary.pad)[:, :read]
        behind = place[:write] < (rows.lengths - prefix)[:, None]
        target = np.full(behind.shape, vocabulary.pad)
        target[behind] = targets
        view = replace(rows, lengths=prefix).to_view(source, self.attention, np.flatnonzero(behind), targets, counts)
        return replace(view, decoder_labels=torch.from_numpy(target))

    def _split(self, lengths: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Tokens of each row's prefix, the mode's and one of the text at least, and all of a row of no more."""
        first = 1 + (self.mode is not None)
        rest = np.maximum(lengths - first, 1)
        if self.share is None:
            prefix = first + randint(random_bits(keys, _SPLIT, np.zeros(1)), rest)
        else:
            prefix = np.clip(np.rint(self.share * lengths).astype(np.int64), first, first + rest - 1)
        return np.minimum(prefix, lengths)

    def _widths(self, time: int) -> tuple[int, int]:
        """Tokens that are read and written of a whole row, the most of any, where its share is fixed."""
        [prefix] = self._split(np.array([time]), np.zeros(1, dtype=np.uint64)).tolist()
        return prefix, time - prefix
