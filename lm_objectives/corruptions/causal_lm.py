"""Causal language modelling: the labels are the input shifted by one."""

from dataclasses import dataclass

import numpy as np

from lm_objectives.corruptions.base import Corruption
from lm_objectives.corruptions.windows import Frame
from lm_objectives.errors import expect
from lm_objectives.views import IGNORED, Rows, View, Vocabulary


@dataclass(frozen=True)
class NextToken(Corruption):
    """Each token is predicted from those before it; the last one of a document's part of a row predicts nothing.

        text    [BOS]  The   cat   sat  [EOS] [PAD]
        input   [BOS]  The   cat   sat  [EOS] [PAD]
        target   The   cat   sat  [EOS]   ·     ·

    >>> import numpy as np
    >>> from lm_objectives import NextToken, Rows, Vocabulary
    >>> vocabulary = Vocabulary(size=16, pad=0, bos=1, eos=2, mask=3, special=(0, 1, 2, 3))
    >>> row = np.array([[1, 10, 11, 12, 2, 0]])
    >>> rows = Rows(keys=np.array([7], dtype=np.uint64), input_ids=row, lengths=np.array([5]))
    >>> view = NextToken().corrupt(rows, vocabulary)
    >>> view.label_positions.tolist(), view.targets.tolist()
    ([0, 1, 2, 3], [10, 11, 12, 2])

    Attributes:
        frame: special tokens around the text of a row: none or bos. An eos after a text that breaks off would end it.
    """

    frame: Frame = "none"

    attention = "causal"

    def __post_init__(self) -> None:
        mend = "an eos would be predicted where the text goes on"
        expect(self.frame != "bos-eos", "a frame of none or bos for next tokens", "bos-eos", mend)

    def prefix_and_suffix(self, vocabulary: Vocabulary) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Bos alone: after eos there would be nothing to generate."""
        return (vocabulary.bos,), ()

    def corrupt(self, rows: Rows, vocabulary: Vocabulary) -> View:
        del vocabulary
        return rows.labelled(rows.input_ids, next_token_labels(rows), self.attention)


def next_token_labels(rows: Rows) -> np.ndarray:
    """The token after each, `(rows, time)`; -100 for the last one of a row, or of a document's part of it.

    >>> import numpy as np
    >>> from lm_objectives import Rows, next_token_labels
    >>> rows = Rows(keys=np.zeros(1, np.uint64), input_ids=np.array([[1, 5, 6, 2, 0]]), lengths=np.array([4]))
    >>> next_token_labels(rows)
    array([[   5,    6,    2, -100, -100]])
    """
    labels = np.full_like(rows.input_ids, IGNORED)
    labels[:, :-1] = rows.input_ids[:, 1:]
    labels[np.arange(1, labels.shape[1] + 1) >= rows.lengths[:, None]] = IGNORED
    if rows.position_ids is not None:  # the next document's first token does not follow from this one
        labels[:, :-1][rows.position_ids[:, 1:] == 0] = IGNORED
    return labels
