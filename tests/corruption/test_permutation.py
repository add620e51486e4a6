"""`permute` sends each index to a place of its own."""

import numpy as np
import pytest

from lm_objectives.corruption.keyed import domain
from lm_objectives.corruption.permutation import permute


@pytest.mark.parametrize("size", [*range(1, 40), 63, 64, 65, 255, 256, 257, 1000, 1024, 1025, 1999, 2000, 100_003])
def test_is_a_permutation(size: int) -> None:
    assert np.array_equal(np.sort(permute(np.arange(size), size, domain("a"))), np.arange(size))


def test_the_same_key_gives_the_same_order_to_whoever_asks() -> None:
    whole = permute(np.arange(500), 500, domain("a"))
    assert np.array_equal(permute(np.array([450, 3]), 500, domain("a")), whole[[450, 3]])
    assert len(permute(np.arange(0), 500, domain("a"))) == 0


def test_other_keys_give_other_orders() -> None:
    orders = {tuple(permute(np.arange(40), 40, domain(number))) for number in range(200)}
    assert len(orders) == 200


def test_every_order_of_few_comes_as_often() -> None:
    """Oracle: χ² with 23 degrees of freedom is above 49.7 once in 1,000 times."""
    orders = [tuple(permute(np.arange(4), 4, domain(number))) for number in range(4800)]
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(counts) == 24
    assert ((counts - 200) ** 2 / 200).sum() < 49.7


def test_neighbours_are_scattered() -> None:
    """Oracle: the correlation of an index and its place has a standard deviation of 1/√n."""
    order = permute(np.arange(10_000), 10_000, domain("a"))
    assert abs(np.corrcoef(order, np.arange(10_000))[0, 1]) < 0.05
    assert abs(np.corrcoef(order[1:], order[:-1])[0, 1]) < 0.05


def test_argument_is_left_alone() -> None:
    index = np.arange(10)
    permute(index, 10, domain("a"))
    assert index.tolist() == list(range(10))
