"""Next token: the text itself, every position asked for the token after it, or those behind a prefix."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch

from lm_objectives.corruption.base import Attention, Corruption, Rows, Spans, Text, View, Vocabulary, Windows, as_view
from lm_objectives.corruption.keyed import below, draw
from lm_objectives.corruption.named import ids_named

_SPLIT = 0  # what a random number is for


class NextToken(Corruption):
    """Shift by one. The last token of a document's part of a row and padding are not scored.

    text    [BOS]  The   cat   sat  [EOS] [PAD]
    input   [BOS]  The   cat   sat  [EOS] [PAD]
    target   The   cat   sat  [EOS]   ·     ·
    """

    attention: Attention = "causal"

    def corrupt(self, rows: Rows, vocabulary: Vocabulary) -> View:
        del vocabulary
        predicted = np.arange(1, rows.ids.shape[1] + 1) < rows.lengths[:, None]
        if rows.positions is not None:  # the next document's first token does not follow from this one
            predicted[:, :-1] &= rows.positions[:, 1:] > 0
        scored = np.flatnonzero(predicted)
        targets = rows.ids.ravel()[scored + 1]
        return as_view(rows, rows.ids, self.attention, scored, targets, {"loss": len(scored)})


@dataclass(frozen=True)
class PrefixNextToken(Corruption):
    """A prefix that sees itself whole, and the next token behind it (Raffel et al. 2020, section 3.2.1).

        text      [BOS]  The   cat   sat    on   the   mat  [EOS]
        input     [BOS]  The   cat | sat    on   the   mat  [EOS]       prefix 3
        target      ·     ·    sat   on     the  mat  [EOS]   ·

    The split is the row's own, anywhere between two of its tokens as likely. UL2's S denoiser (Tay et al. 2023, section
    3.1.2) puts a mode token in front, for which windows are one token shorter.

    Attributes:
        share: the prefix's part of a row, in (0, 1), the same for all; uniform where it is `None`.
        mode: a token put in front of the prefix, such as UL2's "[S]".
    """

    share: float | None = None
    mode: str | None = None
    attention: Attention = "prefix"

    packs: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.share is not None and not 0 < self.share < 1:
            raise ValueError(
                f"expected a prefix share between 0 and 1, both excluded, found {self.share}: leave it out for a "
                "uniform split"
            )

    def tokens(self, window: int) -> tuple[str, ...]:
        del window
        return () if self.mode is None else (self.mode,)

    def spans(self, text: Text, window: int, packing: bool) -> Spans:
        del packing
        return Windows(np.asarray(text.documents), window - len(self.tokens(window)))

    def corrupt(self, rows: Rows, vocabulary: Vocabulary) -> View:
        time, first = rows.ids.shape[1], 1
        if self.mode is not None:  # a full row, as of a window that is shorter for a while, loses its last token
            mode = np.full((len(rows.ids), 1), ids_named(vocabulary, [self.mode])[0])
            ids = np.concatenate([mode, rows.ids[:, :-1]], axis=1)
            rows, first = replace(rows, ids=ids, lengths=np.minimum(rows.lengths + 1, time)), 2
        rest = np.maximum(rows.lengths - first, 1)
        if self.share is None:
            prefix = first + below(draw(rows.keys, _SPLIT, np.zeros(1)), rest)
        else:
            prefix = np.clip(np.rint(self.share * rows.lengths).astype(np.int64), first, first + rest - 1)
        after = np.arange(1, time + 1)
        scored = np.flatnonzero((after >= prefix[:, None]) & (after < rows.lengths[:, None]))
        targets = rows.ids.ravel()[scored + 1]
        view = as_view(rows, rows.ids, self.attention, scored, targets, {"loss": len(scored)})
        return replace(view, prefix=torch.from_numpy(np.minimum(prefix, rows.lengths)))
