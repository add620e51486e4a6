"""Gains of compute, against power laws and ladders read off by hand."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from lm_objectives.comparison.evidence.compute_gain import compute_gain
from lm_objectives.errors import InputError


def test_gains_of_power_laws_are_their_ratio() -> None:
    """Losses that fall in a line over log C, arm `a` as if it had 1.7 times the compute, seeds 1.4 and 2.1 times it."""
    rungs = [1e12, 3e12, 8e12, 2e13]
    factors = [1.4, 1.7, 2.1]
    a = [[9 - 0.2 * math.log(factor * rung) for rung in rungs] for factor in factors]
    b = [[9 - 0.2 * math.log(rung) for rung in rungs]] * 3
    gains = compute_gain(rungs, a, b)
    for gain, rung in zip(gains[:3], rungs, strict=False):
        assert gain.compute == rung
        assert gain.by_seed == pytest.approx(factors, rel=1e-9)
        logs = np.log(factors)
        assert gain.mean == pytest.approx(math.exp(logs.mean()), rel=1e-9)
        interval = stats.ttest_1samp(logs, 0).confidence_interval(0.95)
        assert gain.interval is not None
        low, high = math.exp(interval.low), math.exp(interval.high)
        assert (gain.interval.low, gain.interval.high) == pytest.approx((low, high), rel=1e-9)
    assert (gains[3].by_seed, gains[3].mean, gains[3].interval) == ((None, None, None), None, None)
    rising = [[[-y for y in row] for row in arm] for arm in (a, b)]
    assert compute_gain(rungs, *rising, greater_is_better=True) == gains
    inverse = compute_gain(rungs, b, a)[3].by_seed
    assert inverse == pytest.approx([1 / factor for factor in factors], rel=1e-9)
    assert compute_gain(rungs, b, a)[0].by_seed == (None, None, None)


def test_gains_where_an_arm_stands_still_or_goes_back() -> None:
    """Read off by hand: as good where it first is, on the rung itself, and without a mean where a seed has no gain."""
    b = [[5.0, 4.0, 4.0, 4.5, 3.0]]
    [_, second, *_] = compute_gain([1, 2, 4, 8, 16], [[9.0, 4.0, 4.0, 4.25, 3.5]], b)
    assert second.by_seed == (pytest.approx(1.0),)
    found = [gain.by_seed[0] for gain in compute_gain([1, 2, 4, 8, 16], [[9.0, 4.5, 4.0, 3.75, 3.0]], b)]
    assert found == [None, pytest.approx(2**0.5 / 2), pytest.approx(0.5), pytest.approx(2**0.5), pytest.approx(1)]
    assert compute_gain([1, 2], [[5.0, 4.0]], [[5.0, 4.0]])[0].by_seed == (1.0,)
    [first, _] = compute_gain([1, 2], [[5.0, 4.0], [3.0, 2.0]], [[5.0, 4.0]] * 2)
    assert (first.by_seed, first.mean, first.interval) == ((1.0, None), None, None)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: compute_gain([2, 1], [[1.0, 2.0]], [[1.0, 2.0]]), r"above 0 and growing, found \[2, 1\]: sort them"),
        (lambda: compute_gain([1], [[1.0]], [[1.0]]), "two budgets or more"),
        (lambda: compute_gain([1, 2], [[1.0, 2.0]], []), "as many seeds in both arms, found 1 and 0"),
        (lambda: compute_gain([1, 2], [], []), "one seed or more, found 0: train one"),
        (lambda: compute_gain([1, 2], [[1.0]], [[1.0, 2.0]]), "a value for each rung, found 1 and 2 of them: leave no"),
        (lambda: compute_gain([1, 2], [[1.0, math.nan]], [[1.0, 2.0]]), "finite values"),
    ],
)
def test_what_is_refused_is_one_clear_line(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
