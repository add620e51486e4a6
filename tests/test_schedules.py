"""Values that move over training, against points read off a line by hand."""

import math

import pytest

from lm_objectives.errors import InputError
from lm_objectives.schedules import (
    check_schedulable,
    fraction_to_step,
    interpolate,
    points_at_steps,
    value_at,
)


def check_share(value: float) -> None:
    if not 0 <= value <= 1:
        raise InputError(f"share expects numbers from 0 to 1, found {value}: try 0.5")


@pytest.mark.parametrize(
    ("between", "quarter", "half"),
    [("linear", 0.25, 0.5), ("cosine", (1 - math.cos(math.pi / 4)) / 2, 0.5), ("step", 0.0, 0.0)],
)
def test_values_between_two_points_and_beyond_them(between: str, quarter: float, half: float) -> None:
    points = [(20.0, 1.0), (60.0, 3.0)]
    found = [interpolate(points, step, between) for step in (0, 20, 30, 40, 60, 99)]
    assert found == pytest.approx([1, 1, 1 + 2 * quarter, 1 + 2 * half, 3, 3])


def test_of_three_points_the_next_two_count() -> None:
    points = [(0.0, 0.0), (10.0, 1.0), (20.0, 0.0)]
    assert [interpolate(points, step, "linear") for step in (5, 10, 15)] == [0.5, 1.0, 0.5]
    assert [interpolate(points, step, "step") for step in (9, 10, 19, 20)] == [0.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("when", "steps", "step"), [(3, 10, 3), (1, 10, 1), (1.0, 10, 10), (0.25, 1000, 250), (0.0, -1, 0)]
)
def test_whole_numbers_are_steps_and_others_fractions(when: float, steps: int, step: float) -> None:
    assert fraction_to_step(when, steps, "share") == step


def test_a_fraction_names_the_step_that_its_decimals_say() -> None:
    assert 0.29 * 100 < 29  # which a binary fraction misses
    assert fraction_to_step(0.29, 100, "share") == 29


def test_a_number_stays_and_points_are_followed_in_a_line() -> None:
    assert [value_at(0.3, step, -1, "share") for step in (0, 10**6)] == [0.3, 0.3]
    assert [value_at([[0.0, 0.3], [1.0, 0.1]], step, 100, "share") for step in (0, 50, 100)] == pytest.approx(
        [0.3, 0.2, 0.1]
    )
    assert value_at([[0, 128], [0.5, 512]], 99, 200, "share", "step") == 128


@pytest.mark.parametrize("value", [0.5, 1.0, [[0, 0.5]], [[0, 0.0], [0.5, 1.0], [1.0, 0.5]]])
def test_values_in_range_pass(value: object) -> None:
    check_schedulable(value, check_share, "share")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1.5, "share expects numbers from 0 to 1, found 1.5: try 0.5"),
        ([[0, 0.5], [0.5, -1]], "share expects numbers from 0 to 1, found -1.0: try 0.5"),
        ([], r"share expects pairs \[when, value\], found \[\]: write for example"),
        ([[1, 2, 3]], r"share expects pairs \[when, value\], found \[\[1, 2, 3\]\]: write for example"),
        ([[1.5, 1.0]], "share expects `when` as .*, found 1.5: write steps without a point"),
        ([[-1, 1.0]], "share expects `when` as .*, found -1: write steps without a point"),
        ([[math.nan, 1.0]], "share expects `when` as .*, found nan"),
    ],
)
def test_values_out_of_range_are_one_clear_line(value: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        check_schedulable(value, check_share, "share")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("points", "steps", "message"),
    [
        (
            [[0, 1.0], [101, 0.0]],
            100,
            "share expects every point within the training's 100 steps, found one at 101: move",
        ),
        ([[0.5, 1.0], [20, 0.0]], 100, "share expects each point later than the one before, found .*: sort the points"),
        ([[0.5, 1.0]], -1, "share expects a training with an end to take the fraction 0.5 of, found one without: set"),
    ],
)
def test_points_that_do_not_fit_the_training_are_one_clear_line(points: list, steps: int, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        points_at_steps(points, steps, "share")
    assert "\n" not in str(caught.value)
