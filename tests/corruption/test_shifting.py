"""The next token, as in the docstring's example."""

import numpy as np
from corruption_cases import BOS, EOS, PAD, VOCABULARY, random_rows, rows_of

from lm_objectives.corruption.shifting import NextToken


def test_literal_example() -> None:
    the, cat, sat = 10, 11, 12
    rows = rows_of([BOS, the, cat, sat, EOS], [the, cat], window=6)
    view = NextToken().corrupt(rows, VOCABULARY)
    assert view.ids.tolist() == [[BOS, the, cat, sat, EOS, PAD], [the, cat, PAD, PAD, PAD, PAD]]
    assert view.scored.tolist() == [0, 1, 2, 3, 6]
    assert view.targets.tolist() == [the, cat, sat, EOS, cat]
    assert view.lengths.tolist() == [5, 2]
    assert (view.attention, view.counts, view.padded) == ("causal", {"loss": 5}, True)


def test_padding_and_last_tokens_are_never_scored() -> None:
    """Oracle: a loop over rows and positions."""
    rows = random_rows(50, 24)
    view = NextToken().corrupt(rows, VOCABULARY)
    oracle = [
        (row * 24 + position, rows.ids[row, position + 1])
        for row, length in enumerate(rows.lengths)
        for position in range(length - 1)
    ]
    assert list(zip(view.scored.tolist(), view.targets.tolist(), strict=True)) == oracle
    assert view.counts == {"loss": len(oracle)}


def test_full_rows_are_not_padded() -> None:
    assert not NextToken().corrupt(rows_of([5, 6], [7, 8]), VOCABULARY).padded


def test_a_row_of_one_token_has_nothing_to_score() -> None:
    view = NextToken().corrupt(rows_of([5], [6, 7]), VOCABULARY)
    assert view.scored.tolist() == [2]


def test_rows_are_left_alone() -> None:
    rows = random_rows(4, 10)
    before = rows.ids.copy()
    NextToken().corrupt(rows, VOCABULARY)
    assert np.array_equal(rows.ids, before)
