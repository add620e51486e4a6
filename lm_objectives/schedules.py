"""Values that move over training."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

from lm_objectives.errors import InputError, expect

Interpolation = Literal["linear", "cosine", "step"]


Points = Sequence[Sequence[int | float]]
"""Pairs [when, value] in the order of time. `when` is an optimizer step, a whole number, or a fraction of the training,
a number with a point from 0.0 to 1.0."""


Schedulable = float | list[list[int | float]]
"""A number, or the points that it follows linearly: [[0.0, 0.3], [1.0, 0.15]]."""


def check_points(points: Points, check: Callable[[float], None], what: str) -> None:
    """Raise for points that no training could have.

    Args:
        points: pairs [when, value].
        check: raises for a value that is out of range.
        what: the setting that the points are of, for messages.
    """
    mend = "write for example [[0.0, 0.0], [0.5, 1.0]]"
    expect(bool(points) and all(len(pair) == 2 for pair in points), "pairs [when, value]", points, mend, what)
    for when, value in points:
        expected = "`when` as a whole optimizer step or as a fraction from 0.0 to 1.0"
        mend = "write steps without a point"
        expect(0 <= when < math.inf and (isinstance(when, int) or when <= 1), expected, when, mend, what)
        check(float(value))


def points_at_steps(points: Points, steps: int, what: str) -> list[tuple[float, float]]:
    """Points as (step, value), checked to follow one another within the training.

    >>> from lm_objectives.schedules import points_at_steps
    >>> points_at_steps([[0.1, 0.0], [50, 1.0]], steps=200, what="share")
    [(20.0, 0.0), (50.0, 1.0)]
    """
    placed = [(fraction_to_step(when, steps, what), float(value)) for when, value in points]
    expected = f"every point within the training's {steps} steps"
    mend = "move it forward, or train longer"
    expect(not 0 <= steps < placed[-1][0], expected, f"one at {points[-1][0]}", mend, what)
    if any(later <= earlier for (earlier, _), (later, _) in pairwise(placed)):
        raise InputError(
            f"{what} expects each point later than the one before, found {[list(pair) for pair in points]}: "
            "sort the points by time"
        )
    return placed


def fraction_to_step(when: int | float, steps: int, what: str) -> float:
    """The optimizer step of a point: a whole number is a step, any other a fraction of the training."""
    if isinstance(when, int) or when == 0:
        return float(when)
    mend = "set max_steps, or give whole optimizer steps"
    expect(steps >= 0, f"a training with an end to take the fraction {when} of", "one without", mend, what)
    return round(when * steps, 6)  # .7 of 10 steps is step 7, which binary fractions miss


def interpolate(points: Sequence[tuple[float, float]], step: int, between: Interpolation) -> float:
    """The value at a step: that of the first point before it, of the last after it; the points are (step, value)."""
    if step <= points[0][0]:
        return points[0][1]
    for (start, low), (end, high) in pairwise(points):
        if step < end:
            x = (step - start) / (end - start)
            rise = {"linear": x, "cosine": (1 - math.cos(math.pi * x)) / 2, "step": 0.0}[between]
            return low + (high - low) * rise
    return points[-1][1]


def check_schedulable(value: Schedulable, check: Callable[[float], None], what: str) -> None:
    """Raise for a number, or points, out of range; the arguments are those of `check_points`."""
    check_points(_as_points(value), check, what)


def value_at(value: Schedulable, step: int, steps: int, what: str, between: Interpolation = "linear") -> float:
    """The value at an optimizer step of a training of so many steps.

    >>> from lm_objectives.schedules import value_at
    >>> value_at([[0.0, 0.3], [1.0, 0.1]], step=25, steps=100, what="mask_rate")
    0.25
    """
    return interpolate(points_at_steps(_as_points(value), steps, what), step, between)


def _as_points(value: Schedulable) -> Points:
    return [[0, value]] if isinstance(value, (int, float)) else value
