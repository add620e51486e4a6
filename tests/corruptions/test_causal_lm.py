"""Next-token labels, as in the docstring's example."""

import numpy as np
import pytest
from utils.corruption_cases import BOS, EOS, PAD, VOCABULARY, packed_rows, random_rows, rows_of

from lm_objectives.corruptions.causal_lm import NextToken


def test_literal_example() -> None:
    the, cat, sat = 10, 11, 12
    rows = rows_of([BOS, the, cat, sat, EOS], [the, cat], window=6)
    view = NextToken().corrupt(rows, VOCABULARY)
    assert view.input_ids.tolist() == [[BOS, the, cat, sat, EOS, PAD], [the, cat, PAD, PAD, PAD, PAD]]
    assert view.label_positions.tolist() == [0, 1, 2, 3, 6]
    assert view.targets.tolist() == [the, cat, sat, EOS, cat]
    assert view.lengths.tolist() == [5, 2]
    assert (view.attention, view.counts, view.padded) == ("causal", {"loss": 5}, True)


def test_padding_and_last_tokens_are_never_scored() -> None:
    """Oracle: a loop over rows and positions."""
    rows = random_rows(50, 24)
    view = NextToken().corrupt(rows, VOCABULARY)
    oracle = [
        (row * 24 + position, rows.input_ids[row, position + 1])
        for row, length in enumerate(rows.lengths)
        for position in range(length - 1)
    ]
    assert list(zip(view.label_positions.tolist(), view.targets.tolist(), strict=True)) == oracle
    assert view.counts == {"loss": len(oracle)}


def test_full_rows_are_not_padded() -> None:
    assert not NextToken().corrupt(rows_of([5, 6], [7, 8]), VOCABULARY).padded


def test_a_row_of_one_token_has_nothing_to_score() -> None:
    view = NextToken().corrupt(rows_of([5], [6, 7]), VOCABULARY)
    assert view.label_positions.tolist() == [2]


def test_rows_are_left_alone() -> None:
    rows = random_rows(4, 10)
    before = rows.input_ids.copy()
    NextToken().corrupt(rows, VOCABULARY)
    assert np.array_equal(rows.input_ids, before)


def test_in_packed_rows_no_token_is_predicted_from_another_document() -> None:
    """Oracle: a loop over rows and positions."""
    rows = packed_rows(50, 24)
    assert rows.position_ids is not None
    oracle = [24 * row + at for row in range(50) for at in range(23) if rows.position_ids[row, at + 1] > 0]
    assert NextToken().corrupt(rows, VOCABULARY).label_positions.tolist() == oracle


def test_a_text_that_breaks_off_is_not_ended_by_next_tokens() -> None:
    with pytest.raises(ValueError, match=r"^expected a frame of none or bos for next tokens, found bos-eos: an eos"):
        NextToken("bos-eos")
