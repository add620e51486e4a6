"""Next token: the text itself, every position asked for the token after it."""

import numpy as np

from lm_objectives.corruption.base import Attention, Corruption, Rows, View, Vocabulary, as_view


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
