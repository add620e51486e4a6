"""The multiple of an objective's rows that follows from the shares."""

from fractions import Fraction
from typing import Any

import pytest
from utils.row_cases import SOURCES

from lm_objectives.data.plan import RowPlan
from lm_objectives.data.shares import ShareSchedule

ALIKE = dict.fromkeys("abcdefg", 1.0)


@pytest.mark.parametrize(
    ("shares", "rows", "oracle"),
    [
        ({"a": 1.0}, 32, 8),
        ({name: 1.0 for name in "abcd"}, 32, 8),  # the quickstart
        ({name: 1.0 for name in "abcde"}, 32, 4),  # a fifth objective
        ({name: 1.0 for name in "abcde"}, 40, 8),
        (ALIKE, 28, 4),  # UL2
        ({"causal": 1.0, "masked": 15.0}, 32, 2),  # GPT-BERT
        ({"a": 0.3, "b": 0.1, "c": 0.2}, 24, 4),  # .1 of .6 is a sixth, exactly
        ({"a": 1.0, "b": 0.0}, 32, 8),  # b never reads
        ({"a": 1.0, "b": 1.0}, 9, 1),
        ({"a": 1.0, "b": 99.0}, 32, 1),  # no multiple gives a its part
        ({"a": [[0, 1.0], [100, 0.0]], "b": 1.0}, 16, 8),  # half of the rows at first, none later
        ({"a": [[0, 0.0], [0.5, 1.0], [1.0, 0.0]], "b": 3.0}, 32, 8),  # a quarter in the middle
        ({"a": [[0, 0.0], [0.5, 1.0], [1.0, 0.0]], "b": 3.1}, 32, 4),
        ({"a": [[0, 1.0], [10, 0.0]], "b": [[0, 0.0], [10, 7.0]]}, 8, 8),  # each has a time of its own
    ],
)
def test_largest_power_of_two_that_gives_each_its_part(shares: dict[str, Any], rows: int, oracle: int) -> None:
    """Oracle: by hand."""
    assert ShareSchedule(shares, 200).default_multiple(rows) == oracle


@pytest.mark.parametrize("rows", [8, 12, 20, 32, 48, 56])
def test_each_objective_is_in_every_step(rows: int) -> None:
    """Property: of shares that stay none is absent from a step, and the next power of two would leave one out."""
    for shares in ({"a": 1.0, "b": 2.0, "c": 3.0}, {"a": 1.0, "b": 1.0}, {"a": 5.0, "b": 1.0}):
        multiple = ShareSchedule(shares, -1).default_multiple(rows)
        smallest = Fraction(1) / Fraction(sum(shares.values()))
        assert rows % multiple == 0 and (multiple == 1 or rows * smallest >= multiple)
        larger = 2 * multiple
        assert larger > 8 or rows % larger or rows * smallest < larger


def test_objectives_that_share_rows_count_once() -> None:
    """Oracle: by hand. A tenth of 80 rows is 8, and `hidden` reads those of `order`."""
    plan = RowPlan(SOURCES, 80, None)
    assert (plan.batch_multiple, plan.units) == (8, 10)
    assert all(set(plan.rows(step)) == set(plan.shares) for step in range(50))
    assert RowPlan(SOURCES, 72, None).batch_multiple == 4


def test_a_number_is_kept() -> None:
    assert RowPlan(SOURCES, 80, 16).batch_multiple == 16
