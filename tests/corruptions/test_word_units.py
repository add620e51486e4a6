"""Tokens and words of a row."""

from dataclasses import replace

import numpy as np
import pytest
from utils.corruption_cases import BOS, EOS, MASK, PAD, VOCABULARY, packed_rows, random_rows, rows_of

from lm_objectives.corruptions.word_units import Units, units_of
from lm_objectives.views import Rows


def words(units: Units, row: int) -> list[list[int]]:
    """Positions of each of a row's words."""
    found: list[list[int]] = []
    for position in np.flatnonzero(units.maskable[row]).tolist():
        if units.begins[row, position]:
            found.append([])
        found[-1].append(position)
    return found


def test_literal_example() -> None:
    the, un, kind, cat = 10, 11, 12, 13  # 12 goes on with a word
    rows = rows_of([BOS, the, un, kind, cat, EOS], [kind, kind, MASK, kind, the, kind], window=7)
    units = units_of(rows, VOCABULARY, "word")
    assert words(units, 0) == [[1], [2, 3], [4]]
    assert words(units, 1) == [[0, 1], [3], [4, 5]]  # the row's start and a special token begin a word
    assert units.counts.tolist() == [3, 3]
    assert units.positions(np.array([False, True, False, False, False, True])).tolist() == [2, 3, 11, 12]
    assert PAD in rows.input_ids and not units.maskable[rows.input_ids == PAD].any()


@pytest.mark.parametrize("rows", [random_rows(60, 40), packed_rows(60, 40)], ids=["padded", "packed"])
@pytest.mark.parametrize("first", [0, 1])
def test_words_are_what_a_loop_finds(rows: Rows, first: int) -> None:
    """Oracle: a loop over rows and positions."""
    units = units_of(rows, VOCABULARY, "word", first)
    for row, length in enumerate(rows.lengths):
        oracle: list[list[int]] = []
        before = True
        for position in range(length):
            token = rows.input_ids[row, position]
            place = position if rows.position_ids is None else rows.position_ids[row, position]
            if token in VOCABULARY.special or place < first:
                before = True
            elif before or token % 3 or place == 0:
                oracle.append([position])
                before = False
            else:
                oracle[-1].append(position)
        assert words(units, row) == oracle


def test_a_marked_sentence_begins_a_word() -> None:
    rows = replace(rows_of([4, 6, 6]), sentence_starts=np.array([[False, False, True]]))
    assert words(units_of(rows, VOCABULARY, "word"), 0) == [[0, 1], [2]]


def test_a_line_break_ends_a_word() -> None:
    """Token 6 goes on with a word, but not after 9, a line break."""
    breaks = np.arange(VOCABULARY.size) == 9
    units = units_of(rows_of([4, 6, 9, 6, 6]), replace(VOCABULARY, breaks_line=breaks), "word")
    assert words(units, 0) == [[0, 1, 2], [3, 4]]


def test_words_need_to_know_where_they_start() -> None:
    with pytest.raises(ValueError, match=r"^expected a vocabulary that says where words start, found none: choose"):
        units_of(rows_of([5]), replace(VOCABULARY, starts_word=None), "word")
