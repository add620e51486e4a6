"""What seeds can show, how many a difference needs, what each look may risk, and whether items are what lacks."""

import math

from scipy import special

from lm_objectives.comparison.evidence.statistics import ALPHA, LEAST_SEEDS, critical_t
from lm_objectives.errors import expect

POWER = 0.8
"""Chance of showing a difference that is there."""


def smallest_detectable(n: int, power: float = POWER, alpha: float = ALPHA) -> float:
    """The difference that n seeds show with this power, in sd of the differences (Cohen 1988, chapter 2).

    >>> [round(smallest_detectable(n), 2) for n in (3, 5, 10)]
    [3.26, 1.68, 1.0]

    Args:
        n: seeds, 3 or more.
        power: chance of a verdict in the right direction.
        alpha: level of the two-sided test.
    """
    expect(n >= LEAST_SEEDS, f"{LEAST_SEEDS} seeds or more", n, "fewer decide nothing")
    _check_power(power, alpha)
    return float(special.nctdtrinc(n - 1, 1 - power, critical_t(n - 1, alpha))) / math.sqrt(n)


def seeds_to_show(difference: float, sd: float, power: float = POWER, alpha: float = ALPHA) -> int:
    """The seeds that show a difference with this power, by the noncentral t (Cohen 1988, chapter 2).

    >>> seeds_to_show(0.005, sd=0.008502941)
    25

    Args:
        difference: that is to be shown, of either sign.
        sd: of the differences.
        power: chance of a verdict in the right direction.
        alpha: level of the two-sided test.
    """
    expect(math.isfinite(difference) and difference != 0, "a difference other than 0", difference, "no n shows none")
    expect(0 <= sd < math.inf, "an sd of 0 or more", sd, "take that of the differences over seeds")
    _check_power(power, alpha)
    if sd == 0:
        return LEAST_SEEDS
    effect = abs(difference) / sd
    needed = ((special.ndtri(1 - alpha / 2) + special.ndtri(power)) / effect) ** 2  # with a known sd, which is fewer
    n = max(LEAST_SEEDS, math.ceil(needed))
    while 1 - special.nctdtr(n - 1, effect * math.sqrt(n), critical_t(n - 1, alpha)) < power:
        n += 1
    return n


def alpha_of_look(looks: int, alpha: float = ALPHA) -> float:
    """The level of each of several planned looks at growing results: an equal part (Bonferroni).

    Without it, adding seeds 3 to 10 until p is below .05 calls equal arms different in 18 % of studies.
    """
    expect(looks >= 1, "1 look or more", looks, "one look is one verdict")
    expect(0 < alpha < 1, "an alpha between 0 and 1", alpha, "0.05 is usual")
    return alpha / looks


def more_items_help(sd: float, item_se: float) -> bool:
    """Whether scores vary more by their items than by their seeds: `sd`² against twice `item_se`².

    Args:
        sd: of the differences of two arms over seeds.
        item_se: standard error over the items of one training's score.
    """
    for value, name in ((sd, "sd"), (item_se, "item_se")):
        expect(0 <= value < math.inf, "a finite number of 0 or more", value, "take a standard deviation", name)
    return sd**2 < 2 * item_se**2


def _check_power(power: float, alpha: float) -> None:
    expect(0 < alpha < 1, "an alpha between 0 and 1", alpha, "0.05 is usual")
    expect(alpha < power < 1, "a power between alpha and 1", power, "0.8 is usual")
