"""Subsets and cuts: exact counts, every choice as likely, each row by its own key alone."""

from itertools import combinations

import numpy as np
from utils.corruption_cases import keys

from lm_objectives.corruptions.sampling import concatenated_ranges, random_partition, sample_subset


def test_ranges() -> None:
    assert concatenated_ranges(np.array([5, 9, 2]), np.array([2, 0, 3])).tolist() == [5, 6, 2, 3, 4]


def test_every_subset_is_as_likely() -> None:
    """Oracle: χ² with 9 degrees of freedom is above 27.9 once in 1,000 times."""
    candidates = np.tile([True, False, True, True, True, True], (10_000, 1))
    found = sample_subset(keys(10_000), 0, candidates, np.full(10_000, 2))
    assert not found[:, 1].any() and (found.sum(1) == 2).all()
    places = [0, 2, 3, 4, 5]
    counts = np.array([(found[:, a] & found[:, b]).sum() for a, b in combinations(places, 2)])
    assert ((counts - 1000) ** 2 / 1000).sum() < 27.9


def test_equal_numbers_leave_the_count_exact_and_the_choice_fair() -> None:
    """Oracle: a draw of 16 bits for each of 512 places is tied at the edge in about one row of 200.

    Every place is as likely: a count of n draws has √(np(1-p)) of spread, 4.5 of it allowed.
    """
    rows, time, wanted = 4000, 512, 77
    found = sample_subset(keys(rows), 0, np.ones((rows, time), dtype=bool), np.full(rows, wanted))
    assert (found.sum(1) == wanted).all()
    chance = wanted / time
    assert np.abs(found.sum(0) - rows * chance).max() < 4.5 * np.sqrt(rows * chance * (1 - chance))


def test_cuts_are_exact_and_every_way_as_likely() -> None:
    """Oracle: the six ways to cut 5 into 3; χ² with 5 degrees of freedom is above 20.5 once in 1,000 times."""
    rows = 6000
    items, parts = np.full(rows, 5), np.full(rows, 3)
    sizes = random_partition(keys(rows), 0, items, parts, 9).reshape(rows, 3)
    assert (sizes.sum(1) == 5).all() and sizes.min() == 1
    ways, counts = np.unique(sizes, axis=0, return_counts=True)
    assert len(ways) == 6
    assert ((counts - 1000) ** 2 / 1000).sum() < 20.5


def test_cuts_of_unequal_rows() -> None:
    items, parts = np.array([4, 0, 1, 6]), np.array([2, 0, 1, 6])
    sizes = random_partition(keys(4), 0, items, parts, 6)
    assert len(sizes) == 9
    assert [int(part.sum()) for part in np.split(sizes, np.cumsum(parts)[:-1])] == items.tolist()
    assert np.array_equal(random_partition(keys(1), 0, items[[0]], parts[[0]], 6), sizes[:2])
