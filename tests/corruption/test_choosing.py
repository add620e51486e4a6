"""Subsets, runs and cuts: exact counts, every choice as likely, each row by its own key alone."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from corruption_cases import keys

from lm_objectives.corruption.choosing import Runs, cut_evenly, place_runs, ranges, smallest
from lm_objectives.corruption.keyed import draw
from lm_objectives.corruption.lengths import Geometric, NGram, Poisson, SpanLengths, Uniform, lengths_from

LENGTHS = [Geometric(), Poisson(), Uniform(), NGram()]
each = pytest.mark.parametrize("lengths", LENGTHS, ids=lambda lengths: type(lengths).__name__)
GENERATOR = np.random.default_rng(0)
UNITS = GENERATOR.integers(0, 200, 300)


def of(runs: Runs, row: int) -> list[tuple[int, int]]:
    """Start and length of a row's runs."""
    own = runs.row == row
    return list(zip(runs.start[own].tolist(), runs.length[own].tolist(), strict=True))


def test_ranges() -> None:
    assert ranges(np.array([5, 9, 2]), np.array([2, 0, 3])).tolist() == [5, 6, 2, 3, 4]


def test_every_subset_is_as_likely() -> None:
    """Oracle: χ² with 9 degrees of freedom is above 27.9 once in 1,000 times."""
    candidates = np.tile([True, False, True, True, True, True], (10_000, 1))
    found = smallest(keys(10_000), 0, candidates, np.full(10_000, 2))
    assert not found[:, 1].any() and (found.sum(1) == 2).all()
    places = [0, 2, 3, 4, 5]
    counts = np.array([(found[:, a] & found[:, b]).sum() for a, b in combinations(places, 2)])
    assert ((counts - 1000) ** 2 / 1000).sum() < 27.9


def test_equal_numbers_leave_the_count_exact_and_the_choice_fair() -> None:
    """Oracle: a draw of 16 bits for each of 512 places is tied at the edge in about one row of 200.

    Every place is as likely: a count of n draws has √(np(1-p)) of spread, 4.5 of it allowed.
    """
    rows, time, wanted = 4000, 512, 77
    found = smallest(keys(rows), 0, np.ones((rows, time), dtype=bool), np.full(rows, wanted))
    assert (found.sum(1) == wanted).all()
    chance = wanted / time
    assert np.abs(found.sum(0) - rows * chance).max() < 4.5 * np.sqrt(rows * chance * (1 - chance))


@each
@pytest.mark.parametrize("least", [0, 1])
@pytest.mark.parametrize("rate", [0.15, 0.5, 0.9])
def test_runs_hold_exactly_what_is_wanted_in_the_drawn_lengths(lengths: SpanLengths, least: int, rate: float) -> None:
    """Oracle: a loop over each row's draws, the last run cut to fit."""
    wanted = np.minimum(np.maximum(np.rint(rate * UNITS).astype(np.int64), 1), UNITS)
    runs = place_runs(keys(300), UNITS, wanted, lengths, least)
    draws = lengths_from(lengths, draw(keys(300)[:, None], 4, np.arange(2000)), least)
    for row in range(300):
        oracle, total = [], 0
        for length in draws[row] if wanted[row] else []:
            oracle.append(min(int(length), int(wanted[row]) - total))
            total += oracle[-1]
            if total == wanted[row]:
                break
        while len(oracle) > wanted[row]:  # the last ones without units make room
            del oracle[len(oracle) - 1 - oracle[::-1].index(0)]
        found = of(runs, row)
        assert sorted(length for _, length in found) == sorted(oracle)
        kept = UNITS[row] - wanted[row]
        gaps = [after - start - length for (start, length), (after, _) in pairwise(found)]
        assert all(gap >= (len(found) <= kept + 1) for gap in gaps)
        assert all(start + length <= UNITS[row] for start, length in found)


@each
def test_runs_of_a_row_do_not_depend_on_the_others(lengths: SpanLengths) -> None:
    wanted = UNITS // 4
    runs = place_runs(keys(300), UNITS, wanted, lengths)
    for row in (1, 7, 250):
        alone = place_runs(keys(1, row), UNITS[[row]], wanted[[row]], lengths)
        assert of(alone, 0) == of(runs, row)


def test_every_arrangement_is_as_likely() -> None:
    """Oracle: runs of 2 and 1 in two of the five slots around 4 kept units, in either order: 20 arrangements.

    χ² with 19 degrees of freedom is above 43.8 once in 1,000 times.
    """
    runs = place_runs(keys(24_000), np.full(24_000, 7), np.full(24_000, 3), Uniform(2, 2))
    pairs = np.stack([runs.start.reshape(-1, 2), runs.length.reshape(-1, 2)], axis=-1).reshape(-1, 4)
    arrangements, counts = np.unique(pairs, axis=0, return_counts=True)
    assert len(arrangements) == 20
    assert ((counts - 1200) ** 2 / 1200).sum() < 43.8


@each
def test_every_unit_away_from_the_edges_is_as_likely(lengths: SpanLengths) -> None:
    """Oracle: the mean over those units; a count of n draws has √(np(1-p)) of spread, 4.5 of it allowed."""
    rows = 6000
    runs = place_runs(keys(rows), np.full(rows, 120), np.full(rows, 18), lengths)
    found = np.bincount(ranges(runs.start, runs.length), minlength=120)[20:100]
    chance = found.mean() / rows
    assert chance == pytest.approx(0.15, abs=0.012)  # a little more than at the edges
    assert np.abs(found - rows * chance).max() < 4.5 * np.sqrt(rows * chance * (1 - chance))


def test_runs_touch_where_there_is_no_room_to_keep_them_apart() -> None:
    runs = place_runs(keys(50), np.full(50, 10), np.full(50, 9), Uniform(1, 1))
    assert (np.bincount(runs.row) == 9).all() and (runs.length == 1).all()
    kept = [(set(range(10)) - set(runs.start[runs.row == row])).pop() for row in range(50)]
    assert set(kept) == set(range(10))


def test_nothing_to_choose_from() -> None:
    none = place_runs(keys(2), np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64), Poisson())
    assert len(none.row) == 0


def test_cuts_are_exact_and_every_way_as_likely() -> None:
    """Oracle: the six ways to cut 5 into 3; χ² with 5 degrees of freedom is above 20.5 once in 1,000 times."""
    rows = 6000
    items, parts = np.full(rows, 5), np.full(rows, 3)
    sizes = cut_evenly(keys(rows), 0, items, parts, 9).reshape(rows, 3)
    assert (sizes.sum(1) == 5).all() and sizes.min() == 1
    ways, counts = np.unique(sizes, axis=0, return_counts=True)
    assert len(ways) == 6
    assert ((counts - 1000) ** 2 / 1000).sum() < 20.5


def test_cuts_of_unequal_rows() -> None:
    items, parts = np.array([4, 0, 1, 6]), np.array([2, 0, 1, 6])
    sizes = cut_evenly(keys(4), 0, items, parts, 6)
    assert len(sizes) == 9
    assert [int(part.sum()) for part in np.split(sizes, np.cumsum(parts)[:-1])] == items.tolist()
    assert np.array_equal(cut_evenly(keys(1), 0, items[[0]], parts[[0]], 6), sizes[:2])
