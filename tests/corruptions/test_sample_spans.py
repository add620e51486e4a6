"""Runs of units: exact counts, placed as published, each row by its own key alone."""

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from utils.corruption_cases import keys
from utils.published_masking import CASES, Case, places

from lm_objectives.corruptions.sampling import SampledSpans, sample_spans
from lm_objectives.corruptions.span_lengths import Geometric, NGram, Placement, Poisson, SpanLengths, Uniform

LENGTHS = [Geometric(), Poisson(), Uniform(), NGram()]
each = pytest.mark.parametrize("lengths", LENGTHS, ids=lambda lengths: type(lengths).__name__)
COUNTS = np.random.default_rng(0).integers(0, 200, 300)
FIRST = np.cumsum(COUNTS) - COUNTS


def rows_of(units: np.ndarray, counts: np.ndarray) -> list[list[int]]:
    """The units of each row, numbered within it, ascending."""
    rows = np.split(np.sort(units), np.searchsorted(np.sort(units), np.cumsum(counts))[:-1])
    return [(row - start).tolist() for row, start in zip(rows, np.cumsum(counts) - counts, strict=True)]


def of(runs: SampledSpans, row: int) -> tuple[list[int], ...]:
    return tuple(rows_of(units, COUNTS)[row] for units in (runs.held, runs.over, runs.empty))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_ends_and_middle_are_masked_as_by_the_published_code(case: Case) -> None:
    """Oracle: the published procedure, to 0.01; 20,000 rows of it have a standard deviation of 0.003.

    The budgets differ by a unit or two: published codes round up, or take the share of special tokens too.
    """
    assert places(case.here(100_000)) == pytest.approx(places(case.published(20_000)), abs=0.01)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_another_placement_is_told_apart(case: Case) -> None:
    """The comparison above fails for single units, every set of them as likely."""
    alone = replace(case, lengths=Uniform(1, 1))
    distance = np.abs(np.subtract(places(alone.here(20_000)), places(case.published(4_000)))).max()
    assert distance > (0.01 if case.name != "GPT-BERT" else 0)  # whose spans are nowhere rarer


@each
@pytest.mark.parametrize("least", [0, 1])
@pytest.mark.parametrize("rate", [0.15, 0.5, 0.9])
def test_exactly_what_is_wanted_is_held(lengths: SpanLengths, least: int, rate: float) -> None:
    """Oracle: a count; as many runs at most, those of none among them."""
    wanted = np.minimum(np.maximum(np.rint(rate * COUNTS).astype(np.int64), 1), COUNTS)
    runs = sample_spans(keys(300), COUNTS, wanted, lengths, least)
    held = rows_of(runs.held, COUNTS)
    assert [len(row) for row in held] == [len(set(row)) for row in held] == wanted.tolist()
    over, empty = rows_of(runs.over, COUNTS), rows_of(runs.empty, COUNTS)
    for own, behind, none, count, most in zip(held, over, empty, COUNTS, wanted, strict=True):
        assert all(0 <= unit < count for unit in (*own, *none))
        assert set(behind) <= set(own)
        assert len(set(own) - set(behind)) + len(none) <= most
    assert least == 0 or not len(runs.empty)


@each
@pytest.mark.parametrize("least", [0, 1])
def test_few_runs_of_long_rows_have_the_drawn_lengths(lengths: SpanLengths, least: int) -> None:
    """Oracle: the distribution, to 0.015 over 20,000 runs, of which 3 in 100 meet another and 2 are cut to fit."""
    runs = sample_spans(keys(600), np.full(600, 6000), np.full(600, 180), lengths, least)
    held, heads = np.sort(runs.held), np.setdiff1d(runs.held, runs.over)
    chances = lengths.probabilities() * (np.arange(len(lengths.probabilities())) >= least)
    found = np.bincount(np.diff(np.append(np.searchsorted(held, heads), len(held))), minlength=len(chances))
    found[0] = len(runs.empty)
    assert found.sum() > 20_000
    assert found[:10] / found.sum() == pytest.approx((chances / chances.sum())[:10], abs=0.015)


class Threes(Uniform):
    """Runs of three that may go into one another."""

    placement: ClassVar[Placement] = "overlapping"


def test_overlapping_runs_cover_what_their_starts_and_lengths_say() -> None:
    """Oracle: a unit is left only where none of three units starts a run: (1 - s)^3 of all, to 0.015.

    Starts are drawn without return and stop with the count, so that it is not exact; s is the share of units that a run
    starts at, as the first unit of rows tells, which no other run reaches.
    """
    runs = sample_spans(keys(20_000), np.full(20_000, 100), np.full(20_000, 30), Threes(3, 3))
    held = np.bincount(runs.held % 100, minlength=100) / 20_000
    left = 1 - held
    assert left[1:3].tolist() == pytest.approx([left[0] ** 2, left[0] ** 3], abs=0.015)
    assert left[20:80].mean() == pytest.approx(left[0] ** 3, abs=0.015)


@each
def test_runs_of_a_row_do_not_depend_on_the_others(lengths: SpanLengths) -> None:
    """Oracle: the row alone; a batch in which one row needs many more runs looks further."""
    wanted = COUNTS // 4
    wanted[5] = COUNTS[5]
    runs = sample_spans(keys(300), COUNTS, wanted, lengths, 0)
    for row in (1, 7, 250):
        alone = sample_spans(keys(1, row), COUNTS[[row]], wanted[[row]], lengths, 0)
        assert tuple(np.sort(units).tolist() for units in (alone.held, alone.over, alone.empty)) == of(runs, row)


@each
def test_every_unit_away_from_the_edges_is_as_likely(lengths: SpanLengths) -> None:
    """Oracle: the mean over those units; a count of n draws has √(np(1-p)) of spread, 4.5 of it allowed."""
    rows = 6000
    runs = sample_spans(keys(rows), np.full(rows, 120), np.full(rows, 18), lengths)
    found = np.bincount(runs.held % 120, minlength=120)[20:100]
    chance = found.mean() / rows
    assert np.abs(found - rows * chance).max() < 4.5 * np.sqrt(rows * chance * (1 - chance))


def test_nothing_to_choose_from() -> None:
    none = np.zeros(2, dtype=np.int64)
    for lengths in LENGTHS:
        assert len(sample_spans(keys(2), none, none, lengths).held) == 0
