"""Settings that move over the training: points of a schedule, and what lies between them."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

from lm_objectives.errors import InputError

Interpolation = Literal["linear", "cosine", "step"]


Points = Sequence[Sequence[int | float]]
"""Pairs [when, value] in the order of time. `when` is an optimizer step, a whole number, or a fraction of the training,
a number with a point from 0.0 to 1.0."""


Schedulable = float | list[list[int | float]]
"""A number, or the points that it follows linearly: [[0.0, 0.3], [1.0, 0.15]]."""


def check_points(points: Points, check: Callable[[float], None], what: str) -> None:
    """Refuse points that no training could have.

    Args:
        points: pairs [when, value].
        check: raises for a value that is out of range.
        what: whose points they are, for messages.
    """
    if not points or any(len(pair) != 2 for pair in points):
        raise InputError(
            f"{what} expects pairs [when, value], found {points}: write for example [[0.0, 0.0], [0.5, 1.0]]"
        )
    for when, value in points:
        if not (0 <= when < math.inf and (isinstance(when, int) or when <= 1)):
            raise InputError(
                f"{what} expects `when` as a whole optimizer step or as a fraction from 0.0 to 1.0, found {when}: "
                "write steps without a point"
            )
        check(float(value))


def points_at_steps(points: Points, steps: int, what: str) -> list[tuple[float, float]]:
    """The points at optimizer steps, checked to follow one another within the training."""
    placed = [(fraction_to_step(when, steps, what), float(value)) for when, value in points]
    if 0 <= steps < placed[-1][0]:
        raise InputError(
            f"{what} expects every point within the training's {steps} steps, found one at {points[-1][0]}: "
            "move it forward, or train longer"
        )
    if any(later <= earlier for (earlier, _), (later, _) in pairwise(placed)):
        raise InputError(
            f"{what} expects each point later than the one before, found {[list(pair) for pair in points]}: "
            "sort the points by time"
        )
    return placed


def fraction_to_step(when: int | float, steps: int, what: str) -> float:
    """A whole number is an optimizer step, any other a fraction of the training."""
    if isinstance(when, int) or when == 0:
        return float(when)
    if steps < 0:
        raise InputError(
            f"{what} expects a training with an end to take the fraction {when} of, found one without: set "
            "max_steps, or give whole optimizer steps"
        )
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


def depends_on_length(ramp: Schedulable) -> bool:
    """Whether a ramp depends on how long the training is."""
    return not isinstance(ramp, (int, float)) and any(isinstance(when, float) and when > 0 for when, _ in ramp)


def check_schedulable(ramp: Schedulable, check: Callable[[float], None], what: str) -> None:
    """Refuse a number, or points, that are out of range."""
    if isinstance(ramp, (int, float)):
        check(float(ramp))
    else:
        check_points(ramp, check, what)


def value_at(ramp: Schedulable, step: int, steps: int, what: str, between: Interpolation = "linear") -> float:
    """A ramp's value at an optimizer step of a training of so many."""
    if isinstance(ramp, (int, float)):
        return ramp
    return interpolate(points_at_steps(ramp, steps, what), step, between)
