"""Replaced-token detection: masked tokens for a generator to fill in."""

from dataclasses import dataclass, replace

import numpy as np

from lm_objectives.corruptions.base import Corruption
from lm_objectives.corruptions.masked_lm import VALIDATION_RATE, apply_masks, check_mask_rate, sample_flat_positions
from lm_objectives.corruptions.random import random_bits, uniform
from lm_objectives.corruptions.windows import Frame
from lm_objectives.errors import expect
from lm_objectives.schedules import Schedulable, check_schedulable, value_at
from lm_objectives.views import Rows, View, Vocabulary

_SAMPLE = 2  # what a random number is for; corruptions.masked_lm has 0 and 1, corruptions.sampling 4 and 5


@dataclass(frozen=True)
class TokenReplacement(Corruption):
    """ELECTRA's corruption (Clark et al. 2020, section 2): masked tokens, which a generator fills in.

        text                  the   chef   cooked  the  meal
        input                [MASK] chef  [MASK]   the  meal
        target                the    ·    cooked    ·    ·
        after the generator   the   chef    ate    the  meal
        labels                 0      0      1      0    0

    Each masked position has one uniform number, from which the generator samples by inverse CDF.

    >>> import numpy as np
    >>> from lm_objectives import Rows, TokenReplacement, Vocabulary
    >>> vocabulary = Vocabulary(size=16, pad=0, bos=1, eos=2, mask=3, special=(0, 1, 2, 3))
    >>> row = np.array([[10, 11, 12, 10, 13]])
    >>> rows = Rows(keys=np.array([7], dtype=np.uint64), input_ids=row, lengths=np.array([5]))
    >>> view = TokenReplacement(rate=0.4).corrupt(rows, vocabulary)
    >>> view.input_ids.tolist(), view.targets.tolist(), view.counts
    ([[10, 3, 12, 3, 13]], [11, 10], {'generator': 2, 'discriminator': 5})

    Attributes:
        rate: share of the maskable tokens that are masked, in (0, 1), or points that it follows over the training.
        mask_share: share of those that the mask token replaces; the rest are not changed.
        frame: special tokens around the text of a row; never replaced, and classified like any token.
    """

    rate: Schedulable = 0.15
    mask_share: float = 0.85
    frame: Frame = "none"

    def __post_init__(self) -> None:
        check_schedulable(self.rate, check_mask_rate, "mask_rate")
        expect(0 <= self.mask_share <= 1, "a mask_share between 0 and 1", self.mask_share, "0.85 is ELECTRA's")

    def corrupt(self, rows: Rows, vocabulary: Vocabulary) -> View:
        positions = sample_flat_positions(rows, vocabulary, self.rate)
        ids = apply_masks(rows, vocabulary, positions, self.mask_share, 0.0)
        row, position = np.divmod(positions, rows.input_ids.shape[1])
        uniforms = uniform(random_bits(rows.keys, _SAMPLE, position, row))
        counts = {"generator": len(positions), "discriminator": int(rows.lengths.sum())}
        targets = rows.input_ids.ravel()[positions]
        return rows.to_view(ids, self.attention, positions, targets, counts, uniforms)

    def at_step(self, step: int, steps: int) -> "TokenReplacement":
        return replace(self, rate=value_at(self.rate, step, steps, "mask_rate"))

    def for_validation(self) -> "TokenReplacement":
        return replace(self, rate=VALIDATION_RATE)
