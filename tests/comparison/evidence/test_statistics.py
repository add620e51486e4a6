"""Statistics of a study, against scipy's tests, formulas written out, and one golden table of five seeds."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from lm_objectives.comparison.evidence.power import seeds_to_show
from lm_objectives.comparison.evidence.statistics import (
    Difference,
    Interval,
    better_than_all,
    equivalence_p,
    holm,
    mean_over_seeds,
    noninferiority_p,
    paired_difference,
    pooled_difference,
    sign_flip_p,
    wilson,
    wins,
)
from lm_objectives.errors import InputError

LOSSES = {
    "causal": [4.402, 4.415, 4.391, 4.420, 4.409],
    "mixed": [4.381, 4.402, 4.385, 4.393, 4.399],
    "masked": [4.450, 4.471, 4.439, 4.466, 4.452],
}
STUDIES = 4000


def raw(a: str, b: str) -> Difference:
    """Arm a - arm b, signs as they are."""
    return paired_difference(LOSSES[a], LOSSES[b], greater_is_better=True)


def better(a: str, b: str) -> Difference:
    return paired_difference(LOSSES[a], LOSSES[b], greater_is_better=False)


def ends(interval: Interval | None) -> tuple[float, float]:
    assert interval is not None
    return interval.low, interval.high


def draw(rng: np.random.Generator, *shape: int) -> list:
    return rng.standard_normal(shape).tolist()


def test_the_paired_difference_of_the_golden_table() -> None:
    difference = raw("mixed", "causal")
    assert (difference.n, difference.df, difference.decidable) == (5, 4, True)
    assert difference.mean == pytest.approx(-0.0154, abs=1e-12)
    assert difference.sd == pytest.approx(0.008502941, abs=5e-10)
    assert difference.t == pytest.approx(-4.049828, abs=5e-7)
    assert difference.p == pytest.approx(0.01547792, abs=5e-9)
    assert ends(difference.interval) == pytest.approx((-0.02595780, -0.00484220), abs=5e-9)
    assert difference.correlation == pytest.approx(0.673514, abs=5e-7)
    assert raw("mixed", "masked").t == pytest.approx(-15.1773, abs=5e-5)
    assert raw("mixed", "masked").p == pytest.approx(1.098768e-4, abs=5e-11)
    assert raw("causal", "masked").t == pytest.approx(-22.3763, abs=5e-5)
    assert raw("causal", "masked").p == pytest.approx(2.361775e-5, abs=5e-12)


def test_pairs_show_more_than_welch_where_arms_correlate() -> None:
    """The golden table's Welch line, by scipy."""
    unpaired = stats.ttest_ind(LOSSES["mixed"], LOSSES["causal"], equal_var=False)
    assert (unpaired.statistic, unpaired.df) == pytest.approx((-2.380242, 7.579473), abs=5e-7)
    assert unpaired.pvalue == pytest.approx(0.04620397, abs=5e-9)
    assert raw("mixed", "causal").p < unpaired.pvalue


def test_verdicts_of_the_golden_table() -> None:
    than_causal, than_masked = better("mixed", "causal"), better("mixed", "masked")
    assert sign_flip_p(than_causal.by_seed) == 0.0625
    assert than_causal.p_better == pytest.approx(0.0077389599, abs=5e-11)
    assert than_masked.p_better == pytest.approx(5.493842e-5, abs=5e-12)
    assert better_than_all(than_causal, than_masked) == than_causal.p_better
    assert noninferiority_p(than_causal, 0.02) == pytest.approx(3.704706e-4, abs=5e-11)
    assert seeds_to_show(0.005, than_causal.sd) == 25
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02], abs=1e-12)
    assert ends(wilson(640, 1000)) == pytest.approx((0.6097662, 0.6691623), abs=5e-8)


def test_the_pooled_difference_of_the_golden_table() -> None:
    pairs = [("mixed", "causal"), ("mixed", "masked"), ("causal", "masked")]
    differences = [pooled_difference(LOSSES, a, b, greater_is_better=True) for a, b in pairs]
    first = differences[0]
    assert first.df == 8
    assert first.sd / math.sqrt(2) == pytest.approx(0.005527205, abs=5e-10)
    assert first.se == pytest.approx(0.003495712, abs=5e-10)
    assert first.t == pytest.approx(-4.4054, abs=5e-5)
    assert first.p == pytest.approx(0.00227032, abs=5e-9)
    assert ends(first.interval) == pytest.approx((-0.02346, -0.00734), abs=5e-6)
    assert (first.interval.high - first.mean) / first.se == pytest.approx(2.306004, abs=5e-7)
    adjusted = holm([difference.p for difference in differences])
    assert adjusted == pytest.approx([2.270319e-3, 2.568165e-7, 1.478059e-6], rel=5e-7)


@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_pairs_are_those_of_scipy(n: int) -> None:
    rng = np.random.default_rng(n)
    a, b = draw(rng, 2, n)
    difference, oracle = paired_difference(a, b, True), stats.ttest_rel(a, b)
    assert (difference.t, difference.p) == pytest.approx((oracle.statistic, oracle.pvalue), rel=1e-9)
    interval = oracle.confidence_interval(0.95)
    assert ends(difference.interval) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert difference.p_better == pytest.approx(stats.ttest_rel(a, b, alternative="greater").pvalue, rel=1e-9)
    assert difference.correlation == (None if n == 2 else pytest.approx(stats.pearsonr(a, b).statistic, rel=1e-9))
    assert difference.decidable == (n >= 3)
    interval = stats.ttest_1samp(a, 0).confidence_interval(0.95)
    assert ends(mean_over_seeds(a).interval) == pytest.approx((interval.low, interval.high), rel=1e-9)


def test_margins_are_tests_of_shifted_differences() -> None:
    """Scipy's one-sample tests against the ends of the margin."""
    difference = better("causal", "mixed")
    low = stats.ttest_1samp(difference.by_seed, -0.03, alternative="greater").pvalue
    high = stats.ttest_1samp(difference.by_seed, 0.03, alternative="less").pvalue
    assert noninferiority_p(difference, 0.03) == pytest.approx(low, rel=1e-9)
    assert equivalence_p(difference, 0.03) == pytest.approx(max(low, high), rel=1e-9)


def test_one_seed_has_a_mean_alone_and_two_no_verdict() -> None:
    one, two = paired_difference([2.0], [3.0], False), paired_difference([2.0, 2.5], [3.0, 3.1], False)
    assert (one.n, one.mean) == (1, 1.0)
    assert [one.sd, one.se, one.t, one.p, one.p_better, one.interval, one.correlation] == [None] * 7
    assert mean_over_seeds([2.0]).interval is None
    assert two.interval is not None and two.p is not None and not two.decidable
    for few in (one, two):
        assert not few.decidable
        assert [equivalence_p(few, 9.0), noninferiority_p(few, 9.0), better_than_all(few)] == [None] * 3
        assert better_than_all(better("mixed", "causal"), few) is None


@pytest.mark.filterwarnings("error")
def test_differences_that_do_not_vary_are_exact() -> None:
    """0.3 - 0.2 and 0.7 - 0.6 are other numbers in binary: what differs by rounding does not vary."""
    values = [0.2, 0.6, 0.9]
    apart = paired_difference([value + 0.1 for value in values], values, True)
    assert (apart.sd, apart.p, apart.p_better, apart.t) == (0.0, 0.0, 0.0, None)
    assert ends(apart.interval) == (apart.mean, apart.mean)
    assert paired_difference(values, [value + 0.1 for value in values], True).p_better == 1.0
    assert equivalence_p(apart, 0.2) == 0.0 and equivalence_p(apart, 0.05) == 1.0
    same = paired_difference(values, [sum([value / 10] * 10) for value in values], True)
    assert same.by_seed == (0.0, 0.0, 0.0)
    assert (same.p, same.p_better, same.t) == (1.0, 1.0, None)
    assert sign_flip_p(same.by_seed) == 1.0
    assert equivalence_p(same, 1e-6) == 0.0
    assert paired_difference([1.0, 1.0, 1.0], values, True).correlation is None
    assert seeds_to_show(0.1, 0.0) == 3


def assert_alike(found: Difference, expected: Difference, scale: float = 1.0) -> None:
    """Whether one is the other times a scale, a sign included."""
    assert found.mean == pytest.approx(scale * expected.mean, rel=1e-9)
    assert found.sd == pytest.approx(abs(scale) * expected.sd, rel=1e-9)
    assert found.t == pytest.approx(math.copysign(1, scale) * expected.t, rel=1e-9)
    assert found.p == pytest.approx(expected.p, rel=1e-9)
    p = expected.p_better if scale > 0 else 1 - expected.p_better
    assert found.p_better == pytest.approx(p, rel=1e-9)
    assert ends(found.interval) == pytest.approx(sorted(scale * end for end in ends(expected.interval)), rel=1e-9)


def pairs_only(arms: dict[str, list[float]], a: str, b: str, greater_is_better: bool) -> Difference:
    return paired_difference(arms[a], arms[b], greater_is_better)


@pytest.mark.parametrize("compare", [pairs_only, pooled_difference])
def test_what_leaves_a_comparison_as_it_is(compare: Callable[..., Difference]) -> None:
    """Other names, another direction, a shift of a seed, a unit, an order of seeds."""
    expected = compare(LOSSES, "mixed", "causal", True)
    assert_alike(compare(LOSSES, "causal", "mixed", True), expected, -1)
    assert_alike(compare(LOSSES, "mixed", "causal", False), expected, -1)
    shifts = [0.3, -2.0, 0.0, 1.5, 0.7]
    if compare is pairs_only:  # a shift changes the variances of arms, which pooling asks about
        shifted = {arm: [y + shift for y, shift in zip(ys, shifts, strict=True)] for arm, ys in LOSSES.items()}
        assert_alike(compare(shifted, "mixed", "causal", True), expected)
    assert_alike(
        compare({arm: [3 * y for y in ys] for arm, ys in LOSSES.items()}, "mixed", "causal", True), expected, 3
    )
    order = [3, 0, 4, 1, 2]
    assert_alike(
        compare({arm: [ys[i] for i in order] for arm, ys in LOSSES.items()}, "mixed", "causal", True), expected
    )


def test_pooling_is_least_squares_on_arms_and_seeds() -> None:
    """Its oracle: a regression on one column for each arm and each seed but one."""
    values = np.random.default_rng(4).standard_normal((3, 6))
    design = np.array([[*np.eye(3)[arm], *np.eye(6)[seed, 1:]] for arm, seed in itertools.product(range(3), range(6))])
    found, [squares], *_ = np.linalg.lstsq(design, values.ravel())
    contrast = np.array([1, 0, -1] + [0] * 5)
    se = math.sqrt(squares / 10 * (contrast @ np.linalg.inv(design.T @ design) @ contrast))
    difference = pooled_difference(dict(zip("abc", values.tolist(), strict=True)), "a", "c", True)
    assert (difference.mean, difference.se) == pytest.approx((contrast @ found, se), rel=1e-9)
    assert difference.p == pytest.approx(2 * stats.t.sf(abs(contrast @ found) / se, 10), rel=1e-9)


def test_pooling_two_arms_is_pairing_them() -> None:
    arms = {arm: LOSSES[arm] for arm in ("mixed", "causal")}
    assert_alike(pooled_difference(arms, "mixed", "causal", True), raw("mixed", "causal"))


@pytest.mark.filterwarnings("error")
def test_pooling_takes_arms_that_do_not_vary_and_refuses_unlike_ones() -> None:
    seeds = [0.2, 0.6, 0.9]
    level = {"a": seeds, "b": [seed + 0.1 for seed in seeds], "c": [seed + 0.3 for seed in seeds]}
    found = pooled_difference(level, "a", "b", False)
    assert (found.sd, found.p, found.t) == (0.0, 0.0, None)
    spread = {"a": [0.0, 1.0, 2.0], "b": [1.0, 0.0, 2.0]}
    assert pooled_difference({**spread, "c": [0.0, 4.0, 2.0]}, "a", "b", True).df == 4  # variances 1, 1 and 4
    with pytest.raises(InputError, match=r"differ 4 times at most, found 1 for a and 4\.41 for c: compare without"):
        pooled_difference({**spread, "c": [0.0, 4.2, 2.1]}, "a", "b", True)


@pytest.mark.parametrize("n", [1, 2, 4, 7])
def test_sign_flips_are_all_of_them(n: int) -> None:
    """Every sign written out; whole numbers, so that sums tie."""
    differences = np.random.default_rng(n).integers(-3, 5, n)
    flips = np.array(list(itertools.product([-1, 1], repeat=n)))
    expected = np.mean(np.abs(flips @ differences) >= abs(differences.sum()))
    assert sign_flip_p(differences.tolist()) == expected
    assert sign_flip_p([1.0] * n) == 2 / 2**n


def test_sign_flips_of_many_seeds_are_drawn_and_stay() -> None:
    """The binomial sign test, which sizes that are all alike make of it, within three standard errors; never 0."""
    differences = [1.0] * 17 + [-1.0] * 7
    exact = stats.binomtest(17, 24).pvalue
    found = sign_flip_p(differences)
    assert found == pytest.approx(exact, abs=3 * math.sqrt(exact / 2**17))
    assert sign_flip_p(differences) == found
    assert sign_flip_p([1.0] * 40) == 1 / (1 + 2**17)


def test_holm_is_every_closed_family() -> None:
    """A claim's adjusted p-value is the largest Bonferroni one of the subfamilies that it is in (Marcus 1976)."""
    ps = [0.011, 0.2, 0.013, 0.04, 0.013]
    families = [f for size in range(1, 6) for f in itertools.combinations(range(5), size)]
    expected = [max(min(1, len(f) * min(ps[j] for j in f)) for f in families if i in f) for i in range(5)]
    assert holm(ps) == pytest.approx(expected, rel=1e-12)
    assert holm([None, *ps, None]) == [None, *holm(ps), None]
    assert holm([0.7, 0.9]) == [1.0, 1.0]
    assert (holm([]), holm([None])) == ([], [None])


@pytest.mark.parametrize(("won", "lost", "tied"), [(5, 0, 0), (3, 2, 0), (4, 1, 2), (0, 3, 1), (0, 0, 2)])
def test_wins_have_the_lower_end_of_scipys_exact_interval(won: int, lost: int, tied: int) -> None:
    found = wins([0.1] * won + [-0.2] * lost + [0.0] * tied)
    assert (found.won, found.lost, found.tied) == (won, lost, tied)
    expected = stats.binomtest(won, won + lost).proportion_ci(0.95, "exact").low if won + lost else 0.0
    assert found.low == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("successes", "n"), [(0, 7), (0, 21), (16, 16), (1, 2), (640, 1000)])
def test_shares_have_scipys_score_interval(successes: int, n: int) -> None:
    expected = stats.binomtest(successes, n).proportion_ci(0.95, "wilson")
    assert 0 <= wilson(successes, n).low < wilson(successes, n).high <= 1
    assert ends(wilson(successes, n)) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_equal_arms_are_called_different_in_five_of_a_hundred_studies() -> None:
    """A null simulation, seeded, of arms that share the effects of their seeds."""
    rng = np.random.default_rng(0)
    studies = (rng.standard_normal((STUDIES, 2, 5)) + rng.standard_normal((STUDIES, 1, 5))).tolist()
    rejected = sum(paired_difference(a, b, True).p < 0.05 for a, b in studies)
    assert rejected / STUDIES == pytest.approx(0.05, abs=0.01)


def test_holm_keeps_the_risk_of_a_family() -> None:
    """A null simulation, seeded: scipy's p-values of four claims, none of which holds, apart and about one arm."""
    rng = np.random.default_rng(1)
    ones, others = rng.standard_normal((2, STUDIES, 4, 5))
    for arms, least in ((ones, 0.04), (ones[:, :1], 0.02)):  # with an arm in common, claims fail together
        ps = stats.ttest_rel(*np.broadcast_arrays(arms, others), axis=2).pvalue
        wrong = np.mean([min(p for p in holm(family) if p is not None) < 0.05 for family in ps.tolist()])
        assert least <= wrong <= 0.06
        assert np.mean(ps.min(1) < 0.05) > 0.1  # unadjusted


def test_arms_that_are_equal_are_never_better_and_are_equal_within_a_wide_margin() -> None:
    """Equal to the bit, and equal but for noise of which the margin is ten times the sd."""
    values = LOSSES["causal"]
    same = paired_difference(values, values, False)
    assert better_than_all(same) == 1.0 and same.p == 1.0 and equivalence_p(same, 0.001) == 0.0
    rng = np.random.default_rng(2)
    noisy = [paired_difference(a, b, True) for a, b in draw(rng, 200, 2, 5)]
    assert all(p is not None and p < 0.05 for p in (equivalence_p(difference, 10.0) for difference in noisy))
    assert all(p is not None and p > 0.05 for p in (equivalence_p(difference, 0.01) for difference in noisy))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: paired_difference([1.0], [1.0, 2.0], True), "as many seeds in both arms, found 1 and 2: compare"),
        (lambda: paired_difference([], [], True), "one value or more, found 0: give a number for each seed"),
        (lambda: paired_difference([1.0, math.nan], [1.0, 2.0], True), r"finite values, found \[1.0, nan\]: leave out"),
        (lambda: mean_over_seeds([math.inf]), r"finite values, found \[inf\]: leave out what failed"),
        (lambda: sign_flip_p([]), "one value or more, found 0"),
        (lambda: wins([math.nan]), "finite values"),
        (lambda: better_than_all(), "one difference or more, found 0: name the arms"),
        (lambda: holm([0.5, 1.5]), r"p-values from 0 to 1, found \[0.5, 1.5\]: leave out"),
        (lambda: holm([math.nan]), r"p-values from 0 to 1, found \[nan\]"),
        (lambda: equivalence_p(better("mixed", "causal"), 0.0), "within expects a number above 0, found 0.0: take"),
        (lambda: noninferiority_p(better("mixed", "causal"), -1.0), "within expects a number above 0, found -1.0"),
        (lambda: wilson(3, 2), "successes from 0 to n, and n above 0, found 3 of 2: count again"),
        (
            lambda: pooled_difference(LOSSES, "mixed", "wide", True),
            "two arms out of causal, mixed, masked, found mixed",
        ),
        (lambda: pooled_difference(LOSSES, "mixed", "mixed", True), "two arms out of .*, found mixed and mixed: name"),
        (lambda: pooled_difference({"a": [1.0], "b": [1.0, 2.0]}, "a", "b", True), "in all arms, found 1 and 2: pool"),
        (lambda: pooled_difference({"a": [1.0], "b": [1.0]}, "a", "b", True), "2 seeds or more, found 1: train more"),
    ],
)
def test_what_cannot_be_compared_is_one_clear_line(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
