"""How sure one can be of a difference between two arms of a study: one number a training, pairs by seed.

The unit of evidence is a training, never an item or a task: a seed that is good is good on all of them. With fewer than
`LEAST_SEEDS` seeds nothing is decided: the p-values of verdicts are `None`. Values that are equal to twelve
digits are equal, so that the order of a sum decides nothing.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy import special

from lm_objectives.errors import InputError, expect

ALPHA = 0.05
"""Risk of calling equal arms different, over both sides; intervals cover 1 - ALPHA."""
LEAST_SEEDS = 3
"""Fewer give no verdict."""
MOST_ENUMERATED = 20
"""Seeds up to which all sign flips are gone through."""

_SAMPLED_FLIPS = 2**17  # standard error of a p-value of .05: .0006
_ROUNDING = 1e-12  # relative; sums of some thousand numbers in another order differ by less
_MOST_VARIANCE_RATIO = 4.0  # of arms that are pooled

Numbers = Sequence[int | float]
"""One number a seed."""


@dataclass(frozen=True)
class Interval:
    """Ends of an interval that covers the true value with 95 %."""

    low: float
    high: float


@dataclass(frozen=True)
class Mean:
    """Mean of one arm over its seeds.

    Attributes:
        n: seeds.
        mean: in the metric's unit.
        sd: of the seeds, `None` for one.
        interval: by t, `None` for one seed.
    """

    n: int
    mean: float
    sd: float | None
    interval: Interval | None


@dataclass(frozen=True)
class Difference:
    """By how much arm `a` is better than arm `b` over seeds that both were trained with; + is better.

    Attributes:
        n: seeds.
        mean: of the differences, in the metric's unit.
        sd: of one seed's difference, `None` for one seed.
        df: degrees of freedom that `sd` has.
        by_seed: the differences, in the order of the seeds.
        correlation: of the two arms over the seeds, which is what pairing lives on; `None` for fewer than three seeds,
            and for an arm that does not vary.
    """

    n: int
    mean: float
    sd: float | None
    df: int
    by_seed: tuple[float, ...]
    correlation: float | None

    @property
    def decidable(self) -> bool:
        """Whether there are seeds enough for a verdict."""
        return self.n >= LEAST_SEEDS

    @property
    def se(self) -> float | None:
        """Standard error of the mean."""
        return None if self.sd is None else self.sd / math.sqrt(self.n)

    @property
    def interval(self) -> Interval | None:
        """95 % interval of the mean, by t."""
        return _t_interval(self.mean, self.se, self.df)

    @property
    def t(self) -> float | None:
        """Mean in standard errors; `None` where the differences do not vary."""
        return self.mean / self.se if self.se else None

    @property
    def p(self) -> float | None:
        """Two-sided p-value of the arms being equal: 0 or 1 where the differences do not vary."""
        return None if self.se is None else min(1.0, 2 * _p_above_zero(abs(self.mean), self.se, self.df))

    @property
    def p_better(self) -> float | None:
        """One-sided p-value of `a` being no better than `b`."""
        return None if self.se is None else _p_above_zero(self.mean, self.se, self.df)


@dataclass(frozen=True)
class Wins:
    """Seeds in which one arm is better.

    Attributes:
        won: those in which it is.
        lost: those in which the other is.
        tied: those in which they are equal, which count for neither.
        low: lower end of the 95 % interval of the chance to win a seed that is not tied.
    """

    won: int
    lost: int
    tied: int
    low: float


def mean_over_seeds(values: Numbers) -> Mean:
    """Mean of one arm over its seeds, with its 95 % interval by t (Student 1908, section IX).

    >>> causal = mean_over_seeds([4.402, 4.415, 4.391, 4.420, 4.409])
    >>> f"{causal.mean:.3f} nats, {causal.interval.low:.3f} to {causal.interval.high:.3f}"
    '4.407 nats, 4.393 to 4.422'
    """
    array = checked(values)
    n, mean, sd = len(array), float(array.mean()), _sd(array, np.abs(array).max())
    return Mean(n, mean, sd, _t_interval(mean, None if sd is None else sd / math.sqrt(n), n - 1))


def paired_difference(a: Numbers, b: Numbers, greater_is_better: bool) -> Difference:
    """By how much `a` is better than `b`, by the differences within seeds (Student 1908, section IX).

    >>> mixed, causal = [4.381, 4.402, 4.385, 4.393, 4.399], [4.402, 4.415, 4.391, 4.420, 4.409]
    >>> difference = paired_difference(mixed, causal, greater_is_better=False)
    >>> f"{difference.mean:.4f} nats better, p {difference.p:.4f}, arms correlate {difference.correlation:.2f}"
    '0.0154 nats better, p 0.0155, arms correlate 0.67'

    Args:
        a: one number a seed.
        b: the same seeds in the same order.
        greater_is_better: whether the metric is an accuracy, say, rather than a loss.
    """
    expect(len(a) == len(b), "as many seeds in both arms", f"{len(a)} and {len(b)}", "compare seeds that both have")
    first, second = checked(a), checked(b)
    by_seed = _by_seed(first, second, greater_is_better)
    sd = _sd(by_seed, max(np.abs(first).max(), np.abs(second).max()))
    return Difference(
        len(by_seed), float(by_seed.mean()), sd, len(by_seed) - 1, tuple(by_seed.tolist()), _correlation(first, second)
    )


def pooled_difference(arms: Mapping[str, Numbers], a: str, b: str, greater_is_better: bool) -> Difference:
    """By how much `a` is better than `b`, with the variance of all arms after arms and seeds (Fisher 1935, chapter IV).

    Randomised blocks: y = arm + seed + residual, the residual having (arms - 1)(seeds - 1) degrees of freedom. Stronger
    than pairs where seeds are few, and wrong where arms vary differently: it finds differences in 16 % of studies
    instead of 5 % where `a` and `b` are noisier than the rest. So arms of unlike variance are refused.

    Args:
        arms: one number a seed for each arm, the same seeds in the same order.
        a: name of an arm.
        b: name of another.
        greater_is_better: whether the metric is an accuracy, say, rather than a loss.

    Raises:
        InputError: the largest variance of an arm over its seeds is more than 4 times the least.
    """
    missing = [name for name in (a, b) if name not in arms]
    expect(a != b and not missing, f"two arms out of {', '.join(arms)}", f"{a} and {b}", "name arms of the study")
    sizes = sorted({len(values) for values in arms.values()})
    expect(len(sizes) == 1, "as many seeds in all arms", f"{sizes[0]} and {sizes[-1]}", "pool seeds that all have")
    expect(sizes[0] >= 2, "2 seeds or more", sizes[0], "train more seeds, or do not pool")
    values = np.stack([checked(numbers) for numbers in arms.values()])
    variances = values.var(1, ddof=1)
    if variances.max() > _MOST_VARIANCE_RATIO * variances.min():
        raise InputError(
            f"expected arms whose variances over seeds differ {_MOST_VARIANCE_RATIO:g} times at most, found "
            f"{variances.min():.3g} for {list(arms)[variances.argmin()]} and {variances.max():.3g} for "
            f"{list(arms)[variances.argmax()]}: compare without pooling"
        )
    residuals = values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()
    df = (len(arms) - 1) * (sizes[0] - 1)
    residual_sd = math.sqrt((residuals**2).sum() / df)
    pair = paired_difference(arms[a], arms[b], greater_is_better)
    sd = math.sqrt(2) * residual_sd if residual_sd > _ROUNDING * np.abs(values).max() else 0.0
    return Difference(pair.n, pair.mean, sd, df, pair.by_seed, pair.correlation)


def sign_flip_p(differences: Numbers) -> float:
    """Two-sided p-value that needs no distribution but symmetry: by flipping signs (Fisher 1935, section 21).

    All 2ⁿ flips up to 20 seeds; beyond, the signs as they are and 131,072 flips drawn from a fixed seed (Phipson and
    Smyth 2010). The least p-value of n seeds is 2 / 2ⁿ, so below 6 seeds none reaches .05.

    >>> sign_flip_p([-0.021, -0.013, -0.006, -0.027, -0.010])
    0.0625
    """
    array = checked(differences)
    least = abs(array.sum()) - _ROUNDING * np.abs(array).sum()
    if len(array) > MOST_ENUMERATED:
        draws = np.random.default_rng(0).integers(0, 2, (_SAMPLED_FLIPS, len(array)), dtype=np.int8)
        extreme = np.count_nonzero(np.abs((2 * draws - 1) @ array) >= least)
        return (1 + int(extreme)) / (1 + _SAMPLED_FLIPS)
    sums = array[:1]  # the first sign stands: flipping all changes no size
    for difference in array[1:]:
        sums = np.concatenate([sums + difference, sums - difference])
    return float(np.mean(np.abs(sums) >= least))


def better_than_all(*differences: Difference) -> float | None:
    """P-value of one arm being better than each of several: the largest one-sided one (Berger 1982).

    An intersection-union test: all must be shown, so none needs a correction.
    """
    expect(bool(differences), "one difference or more", 0, "name the arms that it should be better than")
    ps = [difference.p_better for difference in differences if difference.decidable]
    return max(p for p in ps if p is not None) if len(ps) == len(differences) else None


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """P-values adjusted so that the risk of one wrong claim in the family stays the level (Holm 1979).

    What is not decidable, `None`, is no member of the family.

    >>> holm([0.01, 0.04, None, 0.03, 0.005])
    [0.03, 0.06, None, 0.06, 0.02]
    """
    decided = [p for p in ps if p is not None]
    expect(all(0 <= p <= 1 for p in decided), "p-values from 0 to 1", decided, "leave out what has none as None")
    order = sorted((p, place) for place, p in enumerate(ps) if p is not None)
    adjusted: list[float | None] = [None] * len(ps)
    largest = 0.0
    for rank, (p, place) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p))
        adjusted[place] = largest
    return adjusted


def noninferiority_p(difference: Difference, within: float) -> float | None:
    """P-value of `a` being not worse than `b` by `within`: of the mean difference being above -`within`.

    Args:
        difference: of `a` and `b`.
        within: a margin in the metric's unit, above 0, chosen before the results are seen.
    """
    _check_positive(within, "within", "take the least difference that would matter")
    if difference.se is None or not difference.decidable:
        return None
    return _p_above_zero(difference.mean + within, difference.se, difference.df)


def equivalence_p(difference: Difference, within: float) -> float | None:
    """P-value of the arms being equal within a margin: the larger of two one-sided ones (Schuirmann 1987).

    Args:
        difference: of `a` and `b`.
        within: a margin in the metric's unit, above 0, chosen before the results are seen.
    """
    not_worse = noninferiority_p(difference, within)
    if not_worse is None or difference.se is None:
        return None
    return max(not_worse, _p_above_zero(within - difference.mean, difference.se, difference.df))


def wins(differences: Numbers) -> Wins:
    """In how many seeds an arm is better, and its least chance of that (Clopper and Pearson 1934).

    Ties are left out, as the sign test leaves them out (Dixon and Mood 1946).

    >>> found = wins([0.021, 0.013, 0.006, 0.027, 0.010])
    >>> f"won {found.won} of {found.won + found.lost} seeds (P >= {found.low:.2f})"
    'won 5 of 5 seeds (P >= 0.48)'
    """
    array = checked(differences)
    won, lost = int((array > 0).sum()), int((array < 0).sum())
    low = float(special.betaincinv(won, lost + 1, ALPHA / 2)) if won else 0.0
    return Wins(won, lost, len(array) - won - lost, low)


def wilson(successes: int, n: int) -> Interval:
    """95 % interval of a share, by the score (Wilson 1927).

    >>> share = wilson(640, 1000)
    >>> f"{share.low:.4f} to {share.high:.4f}"
    '0.6098 to 0.6692'
    """
    expect(0 <= successes <= n and n > 0, "successes from 0 to n, and n above 0", f"{successes} of {n}", "count again")
    z = float(special.ndtri(1 - ALPHA / 2))
    share, shrink = successes / n, 1 + z**2 / n
    centre = (share + z**2 / (2 * n)) / shrink
    half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / shrink
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def checked(values: Numbers) -> Float64[np.ndarray, "values"]:
    """Finite numbers, one or more."""
    array = np.asarray(values, dtype=np.float64)
    expect(array.size > 0, "one value or more", 0, "give a number for each seed")
    expect(bool(np.isfinite(array).all()), "finite values", list(values), "leave out what failed, in every arm")
    return array


def _check_positive(value: float, name: str, mend: str) -> None:
    expect(0 < value < math.inf, "a number above 0", value, mend, name)


def _by_seed(
    a: Float64[np.ndarray, "seeds"], b: Float64[np.ndarray, "seeds"], greater_is_better: bool
) -> Float64[np.ndarray, "seeds"]:
    """Differences with + for a better `a`, and 0 where rounding alone differs."""
    raw = a - b if greater_is_better else b - a
    return np.where(np.abs(raw) <= _ROUNDING * np.maximum(np.abs(a), np.abs(b)), 0.0, raw)


def _sd(values: Float64[np.ndarray, "seeds"], size: float) -> float | None:
    """Standard deviation, `None` for one value, 0 where numbers of this size differ by rounding alone."""
    if len(values) < 2:
        return None
    sd = float(values.std(ddof=1))
    return sd if sd > _ROUNDING * size else 0.0


def _correlation(a: Float64[np.ndarray, "seeds"], b: Float64[np.ndarray, "seeds"]) -> float | None:
    if len(a) < LEAST_SEEDS or not (_sd(a, np.abs(a).max()) and _sd(b, np.abs(b).max())):
        return None
    return float(np.corrcoef(a, b)[0, 1])


def critical_t(df: int, alpha: float) -> float:
    """The t beyond which a two-sided test of this level rejects."""
    return float(-special.stdtrit(df, alpha / 2))


def _p_above_zero(mean: float, se: float, df: int) -> float:
    """P-value of a mean that is 0 or less."""
    return float(special.stdtr(df, -mean / se)) if se > 0 else float(mean <= 0)


def _t_interval(mean: float, se: float | None, df: int) -> Interval | None:
    if se is None:
        return None
    half = critical_t(df, ALPHA) * se
    return Interval(mean - half, mean + half)
