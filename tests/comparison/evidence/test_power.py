"""What seeds can show, against scipy's noncentral t and the golden table."""

import itertools
import math
from collections.abc import Callable

import pytest
from scipy import optimize, stats

from lm_objectives.comparison.evidence.power import alpha_of_look, more_items_help, seeds_to_show, smallest_detectable
from lm_objectives.errors import InputError


@pytest.mark.parametrize(
    ("n", "golden"), [(3, 3.26), (4, 2.13), (5, 1.68), (6, 1.43), (8, 1.16), (10, 1.00), (20, 0.66)]
)
def test_the_smallest_detectable_difference_of_the_golden_table(n: int, golden: float) -> None:
    """Its oracle: the root of scipy's noncentral t."""
    found = smallest_detectable(n)
    assert round(found, 2) == golden
    critical = stats.t.ppf(0.975, n - 1)
    root = optimize.brentq(lambda d: stats.nct.sf(critical, n - 1, d * math.sqrt(n)) - 0.8, 0.1, 10)
    assert found == pytest.approx(root, rel=1e-6)


@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize("effect", [0.2, 0.6, 1.5, 4.0])
def test_seeds_to_show_is_the_first_number_with_the_power(effect: float, alpha: float, power: float) -> None:
    """Scipy's noncentral t, from 3 seeds upwards; and more seeds detect less."""

    def of(n: int) -> float:
        return float(stats.nct.sf(stats.t.ppf(1 - alpha / 2, n - 1), n - 1, effect * math.sqrt(n)))

    found = seeds_to_show(-2 * effect, 2.0, power, alpha)
    assert found == next(n for n in itertools.count(3) if of(n) >= power)
    assert smallest_detectable(found, power, alpha) <= effect


def test_looks_share_the_risk() -> None:
    assert [alpha_of_look(looks) for looks in (1, 2, 5)] == [0.05, 0.025, 0.01]


def test_more_items_help_where_they_vary_more_than_seeds() -> None:
    assert [more_items_help(sd, 0.19) for sd in (0.1, 0.26, 0.27, 0.7)] == [True, True, False, False]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: smallest_detectable(2), "expected 3 seeds or more, found 2: fewer decide nothing"),
        (lambda: smallest_detectable(5, power=0.01), "a power between alpha and 1, found 0.01: 0.8 is usual"),
        (lambda: smallest_detectable(5, alpha=0.0), "an alpha between 0 and 1, found 0.0: 0.05 is usual"),
        (lambda: seeds_to_show(0.0, 1.0), "a difference other than 0, found 0.0: no n shows none"),
        (lambda: seeds_to_show(1.0, -1.0), "an sd of 0 or more, found -1.0: take"),
        (lambda: alpha_of_look(0), "1 look or more, found 0: one look is one verdict"),
        (lambda: alpha_of_look(1, alpha=1.0), "an alpha between 0 and 1, found 1.0"),
        (lambda: more_items_help(1.0, math.nan), "item_se expects a finite number of 0 or more, found nan: take"),
    ],
)
def test_what_is_refused_is_one_clear_line(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
