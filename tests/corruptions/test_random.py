"""Numbers by key against SplitMix64's published outputs, and against chance."""

from math import factorial

import numpy as np
import pytest

from lm_objectives.corruptions.random import derive_seed, permute, randint, random_bits, row_keys, splitmix64, uniform

GOLDEN = 0x9E3779B97F4A7C15


def test_is_splitmix64() -> None:
    """Oracle: the outputs of Vigna's reference implementation for seed 1234567."""
    states = [(1234567 + number * GOLDEN) % 2**64 for number in range(1, 6)]
    assert splitmix64(np.array(states, dtype=np.uint64)).tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_random_bits_are_splitmix64_seeded_by_the_key() -> None:
    """Oracle: the same in whole numbers of Python."""

    def finalise(x: int) -> int:
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
        return x ^ x >> 31

    key, purpose = 2**64 - 5, 3
    seed = finalise((key + purpose * GOLDEN) % 2**64)
    oracle = [finalise((seed + (counter + 1) * GOLDEN) % 2**64) for counter in range(4)]
    assert random_bits(np.array([key], dtype=np.uint64), purpose, np.arange(4)).tolist() == oracle


def test_splitmix64_leaves_its_argument_alone() -> None:
    numbers = np.arange(5, dtype=np.uint64)
    splitmix64(numbers)
    assert numbers.tolist() == [0, 1, 2, 3, 4]


def test_a_number_depends_on_its_key_and_counter_alone() -> None:
    keys, counters = row_keys(derive_seed("a"), np.arange(50)), np.arange(20)
    whole = random_bits(keys[:, None], 1, counters)
    assert whole.shape == (50, 20)
    assert random_bits(keys[[7]], 1, counters[[13]])[0] == whole[7, 13]
    assert len(np.unique(whole)) == whole.size


def test_keys_of_rows_do_not_depend_on_the_others() -> None:
    base = derive_seed("training", 0, "causal")
    assert np.array_equal(row_keys(base, np.arange(100))[37:40], row_keys(base, np.array([37, 38, 39])))
    assert row_keys(base, np.array([5])) != row_keys(derive_seed("training", 1, "causal"), np.array([5]))


def test_seeds_are_the_same_everywhere_and_words_do_not_run_together() -> None:
    assert derive_seed("training", 0, "causal") == derive_seed("training", "0", "causal")
    assert derive_seed("ab", "c") != derive_seed("a", "bc")
    assert (
        int(derive_seed("training", 0, "causal")) == 2833500289497080799
    )  # another number would change every run's rows


@pytest.mark.parametrize("purpose", [0, 1, 7])
def test_uniform(purpose: int) -> None:
    """Oracle: Kolmogorov and Smirnov; D·√n is above 1.95 once in 1,000 times."""
    bits = random_bits(row_keys(derive_seed("a"), np.arange(1000))[:, None], purpose, np.arange(100)).ravel()
    numbers = np.sort(uniform(bits))
    assert numbers.dtype == np.float32
    assert numbers[0] >= 0 and numbers[-1] < 1
    ranks = np.arange(len(numbers) + 1) / len(numbers)
    distance = max(np.abs(numbers - ranks[1:]).max(), np.abs(numbers - ranks[:-1]).max())
    assert distance * np.sqrt(len(numbers)) < 1.95


def test_uniform_never_reaches_one() -> None:
    assert uniform(np.array([2**64 - 1], dtype=np.uint64))[0] == 1 - 2**-24


def test_randint_is_even() -> None:
    """Oracle: χ² with 12 degrees of freedom is above 32.9 once in 1,000 times."""
    found = randint(random_bits(row_keys(derive_seed("b"), np.arange(26_000)), 2, np.zeros(1)), 13)
    counts = np.bincount(found, minlength=13)
    assert len(counts) == 13
    assert ((counts - 2000) ** 2 / 2000).sum() < 32.9
    assert randint(np.array([0, 2**64 - 1], dtype=np.uint64), 2**32).tolist() == [0, 2**32 - 1]


def test_purposes_counters_and_keys_are_independent() -> None:
    """Oracle: correlations of n independent pairs have a standard deviation of 1/√n; five of them are allowed."""
    keys = row_keys(derive_seed("c"), np.arange(300))
    first, second = (uniform(random_bits(keys[:, None], purpose, np.arange(100))) for purpose in (0, 1))
    for one, other in (
        (first, second),
        (first[:, :-1], first[:, 1:]),
        (first[:-1], first[1:]),
        (first[:, 1:], second[:, :-1]),  # a purpose must not be the other one, a counter on
    ):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 5 / np.sqrt(one.size)


@pytest.mark.parametrize("size", [*range(1, 40), 63, 64, 65, 255, 256, 257, 1000, 1024, 1025, 1999, 2000, 100_003])
def test_permute_is_a_permutation(size: int) -> None:
    assert np.array_equal(np.sort(permute(np.arange(size), size, derive_seed("a"))), np.arange(size))


def test_permute_gives_the_same_order_for_the_same_key() -> None:
    whole = permute(np.arange(500), 500, derive_seed("a"))
    assert np.array_equal(permute(np.array([450, 3]), 500, derive_seed("a")), whole[[450, 3]])
    assert len(permute(np.arange(0), 500, derive_seed("a"))) == 0


def test_permute_gives_other_orders_for_other_keys() -> None:
    orders = {tuple(permute(np.arange(40), 40, derive_seed(number))) for number in range(200)}
    assert len(orders) == 200


@pytest.mark.parametrize("number", [6_000, pytest.param(100_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("size", "limit"), [(2, 10.8), (3, 20.5), (4, 49.7), (5, 173.6)])
def test_permute_gives_every_order_of_few_as_often(size: int, limit: float, number: int) -> None:
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


def test_permute_scatters_neighbours() -> None:
    """Oracle: the correlation of an index and its place has a standard deviation of 1/√n."""
    order = permute(np.arange(10_000), 10_000, derive_seed("a"))
    assert abs(np.corrcoef(order, np.arange(10_000))[0, 1]) < 0.05
    assert abs(np.corrcoef(order[1:], order[:-1])[0, 1]) < 0.05


def test_permute_leaves_its_argument_alone() -> None:
    index = np.arange(10)
    permute(index, 10, derive_seed("a"))
    assert index.tolist() == list(range(10))
