"""`permute` sends each index to a place of its own."""

from math import factorial

import numpy as np
import pytest

from lm_objectives.corruptions.random import derive_seed, permute, row_keys


@pytest.mark.parametrize("size", [*range(1, 40), 63, 64, 65, 255, 256, 257, 1000, 1024, 1025, 1999, 2000, 100_003])
def test_is_a_permutation(size: int) -> None:
    assert np.array_equal(np.sort(permute(np.arange(size), size, derive_seed("a"))), np.arange(size))


def test_the_same_key_gives_the_same_order_to_whoever_asks() -> None:
    whole = permute(np.arange(500), 500, derive_seed("a"))
    assert np.array_equal(permute(np.array([450, 3]), 500, derive_seed("a")), whole[[450, 3]])
    assert len(permute(np.arange(0), 500, derive_seed("a"))) == 0


def test_other_keys_give_other_orders() -> None:
    orders = {tuple(permute(np.arange(40), 40, derive_seed(number))) for number in range(200)}
    assert len(orders) == 200


@pytest.mark.parametrize("number", [6_000, pytest.param(100_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("size", "limit"), [(2, 10.8), (3, 20.5), (4, 49.7), (5, 173.6)])
def test_every_order_of_few_comes_as_often(size: int, limit: float, number: int) -> None:
    """Oracle: χ² with n! - 1 degrees of freedom is above the limit once in 1,000 times."""
    orders = [permute(np.arange(size), size, key) for key in row_keys(derive_seed("few"), np.arange(number))]
    counts = np.unique(np.stack(orders) @ size ** np.arange(size), return_counts=True)[1]
    assert len(counts) == factorial(size)
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < limit


@pytest.mark.parametrize("size", [6, 7, 8, 16])
def test_every_pair_of_places_of_two_items_comes_as_often(size: int) -> None:
    """Oracle: χ² of where items 0 and 1 go, and 1 and n - 1; 3.3 standard deviations above its degrees of freedom."""
    orders = np.stack(
        [permute(np.arange(size), size, key) for key in row_keys(derive_seed("pairs"), np.arange(20_000))]
    )
    for one, other in ((0, 1), (1, size - 1)):
        counts = np.bincount(orders[:, one] * size + orders[:, other], minlength=size**2).reshape(size, size)
        assert not counts.diagonal().any()
        off = counts[~np.eye(size, dtype=bool)]
        assert ((off - off.mean()) ** 2 / off.mean()).sum() < len(off) + 3.3 * np.sqrt(2 * len(off))


def test_neighbours_are_scattered() -> None:
    """Oracle: the correlation of an index and its place has a standard deviation of 1/√n."""
    order = permute(np.arange(10_000), 10_000, derive_seed("a"))
    assert abs(np.corrcoef(order, np.arange(10_000))[0, 1]) < 0.05
    assert abs(np.corrcoef(order[1:], order[:-1])[0, 1]) < 0.05


def test_argument_is_left_alone() -> None:
    index = np.arange(10)
    permute(index, 10, derive_seed("a"))
    assert index.tolist() == list(range(10))
