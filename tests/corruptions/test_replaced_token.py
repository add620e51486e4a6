"""ELECTRA's masks: what the generator and the discriminator are given; test_masked_lm.py has what all masks share."""

import numpy as np
import pytest
from utils.corruption_cases import MASK, VOCABULARY, random_rows, rows_of

from lm_objectives.corruptions.replaced_token import TokenReplacement


def test_literal_example() -> None:
    the, chef, cooked, meal = range(10, 14)
    view = TokenReplacement(0.4, 1.0).corrupt(rows_of([the, chef, cooked, the, meal]), VOCABULARY)
    assert view.input_ids.tolist() == [[the, MASK, cooked, the, MASK]]
    assert view.label_positions.tolist() == [1, 4]
    assert view.targets.tolist() == [chef, meal]
    assert (view.attention, view.counts) == ("bidirectional", {"generator": 2, "discriminator": 5})


def test_counts_and_sampling_noise() -> None:
    """Oracle: ELECTRA's generator is over masked tokens, its discriminator over every token that is not padding."""
    rows = random_rows(100, 64)
    view = TokenReplacement().corrupt(rows, VOCABULARY)
    assert view.counts == {"generator": len(view.label_positions), "discriminator": rows.lengths.sum()}
    assert view.sampling_noise is not None
    assert view.sampling_noise.shape == view.label_positions.shape
    assert view.sampling_noise.min() >= 0 and view.sampling_noise.max() < 1
    assert view.sampling_noise.mean() == pytest.approx(0.5, abs=5 * np.sqrt(1 / 12 / len(view.label_positions)))


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_mask_share_outside_is_one_clear_line(share: float) -> None:
    with pytest.raises(ValueError, match=rf"^expected a mask_share between 0 and 1, found {share}: 0.85 is ELECTRA's"):
        TokenReplacement(0.15, share)
