"""Next-token prediction: the labels are the input shifted by one."""

from dataclasses import dataclass

import numpy as np

from lm_objectives.corruptions.base import Corruption
from lm_objectives.corruptions.windows import Frame
from lm_objectives.errors import InputError
from lm_objectives.views import Rows, View, Vocabulary


@dataclass(frozen=True)
class NextToken(Corruption):
    """Shift by one. The last token of a document's part of a row and padding are not scored.

        text    [BOS]  The   cat   sat  [EOS] [PAD]
        input   [BOS]  The   cat   sat  [EOS] [PAD]
        target   The   cat   sat  [EOS]   ·     ·

    Attributes:
        frame: what stands around the text of a row: nothing or bos. An eos behind a text that breaks off would end it.
    """

    frame: Frame = "none"

    attention = "causal"

    def __post_init__(self) -> None:
        if self.frame == "bos-eos":
            raise InputError(
                "expected a frame of none or bos for next tokens, found bos-eos: an eos would be predicted where the "
                "text goes on"
            )

    def prefix_and_suffix(self, vocabulary: Vocabulary) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Bos alone: behind eos there would be nothing to write."""
        return (vocabulary.bos,), ()

    def corrupt(self, rows: Rows, vocabulary: Vocabulary) -> View:
        del vocabulary
        predicted = np.arange(1, rows.input_ids.shape[1] + 1) < rows.lengths[:, None]
        if rows.position_ids is not None:  # the next document's first token does not follow from this one
            predicted[:, :-1] &= rows.position_ids[:, 1:] > 0
        scored = np.flatnonzero(predicted)
        targets = rows.input_ids.ravel()[scored + 1]
        return rows.to_view(rows.input_ids, self.attention, scored, targets, {"loss": len(scored)})
