"""How many times the compute one arm needs to be as good as another, from a ladder of budgets."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from lm_objectives.comparison.evidence.statistics import Interval, Numbers, checked, mean_over_seeds
from lm_objectives.errors import expect


@dataclass(frozen=True)
class ComputeGain:
    """How many times the compute arm `b` needs to be as good as arm `a`.

    Attributes:
        compute: that of arm `a`.
        by_seed: the gain of each seed, `None` where arm `b` is as good outside its ladder alone.
        mean: geometric mean over the seeds; `None` where one of them has no gain, since a gain out of range is large or
            small rather than missing.
        interval: 95 %, by t on the logarithms.
    """

    compute: float
    by_seed: tuple[float | None, ...]
    mean: float | None
    interval: Interval | None


def compute_gain(
    rungs: Numbers, a: Sequence[Numbers], b: Sequence[Numbers], greater_is_better: bool = False
) -> tuple[ComputeGain, ...]:
    """How many times the compute of `a` arm `b` needs to be as good: g with m_b(g C) = m_a(C), for each rung C.

    Between rungs, `b` is a line over the logarithm of compute; it is as good where it first is. Beyond the ladder
    nothing is extrapolated, so an arm that is better has gains on the lower rungs alone.

    >>> a, b = [[4.0, 3.0, 2.0]] * 3, [[5.0, 4.0, 3.0]] * 3
    >>> [gain.mean and round(gain.mean, 6) for gain in compute_gain([1e13, 2e13, 4e13], a, b)]
    [2.0, 2.0, None]

    Args:
        rungs: budgets of compute, growing.
        a: values of one arm, a row for each seed, a column for each rung.
        b: those of the other.
        greater_is_better: whether the metric is an accuracy, say, rather than a loss.
    """
    computes = checked(rungs)
    rising = bool(len(computes) >= 2 and computes[0] > 0 and (np.diff(computes) > 0).all())
    expect(rising, "two budgets or more, above 0 and growing", list(rungs), "sort them")
    expect(len(a) == len(b), "as many seeds in both arms", f"{len(a)} and {len(b)}", "compare seeds that both have")
    expect(len(a) > 0, "one seed or more", 0, "train one")
    widths = sorted({len(row) for row in (*a, *b)} | {len(computes)})
    expect(len(widths) == 1, "a value for each rung", f"{widths[0]} and {widths[-1]} of them", "leave no rung out")
    sign = 1 if greater_is_better else -1
    first, second = (sign * np.stack([checked(row) for row in arm]) for arm in (a, b))
    logs = np.log(computes)
    return tuple(
        _gain(float(compute), [_log_compute(logs, row, float(goal)) for row, goal in zip(second, goals, strict=True)])
        for compute, goals in zip(computes, first.T, strict=True)
    )


def _log_compute(logs: Float64[np.ndarray, "rungs"], values: Float64[np.ndarray, "rungs"], goal: float) -> float | None:
    """Logarithm of the compute at which values, greater being better, first reach the goal; `None` off the ladder."""
    reached = np.flatnonzero(values >= goal)
    if not reached.size or (reached[0] == 0 and values[0] > goal):
        return None
    after = int(reached[0])
    if after == 0:
        return float(logs[0])
    part = (goal - values[after - 1]) / (values[after] - values[after - 1])
    return float(logs[after - 1] + part * (logs[after] - logs[after - 1]))


def _gain(compute: float, reached: Sequence[float | None]) -> ComputeGain:
    """The gains of the seeds over this compute, from the logarithms of what they reach it with."""
    logs = [None if log is None else log - math.log(compute) for log in reached]
    by_seed = tuple(None if log is None else math.exp(log) for log in logs)
    known = [log for log in logs if log is not None]
    if len(known) < len(logs):
        return ComputeGain(compute, by_seed, None, None)
    summary = mean_over_seeds(known)
    ends = summary.interval and Interval(math.exp(summary.interval.low), math.exp(summary.interval.high))
    return ComputeGain(compute, by_seed, math.exp(summary.mean), ends)
