"""`Stages` against points read off the schedule by hand."""

import math

import pytest
import torch

from lm_objectives.balancers import Stages

NAMES = ("causal", "order")


def built(points: dict, steps: int = 100, **arguments: str) -> Stages:
    pace = Stages(points, **arguments)
    pace.setup(NAMES, torch.ones(2), steps)
    return pace


@pytest.mark.parametrize(
    ("between", "quarter", "half"),
    [("linear", 0.25, 0.5), ("cosine", (1 - math.cos(math.pi / 4)) / 2, 0.5), ("step", 0.0, 0.0)],
)
def test_between_two_points(between: str, quarter: float, half: float) -> None:
    pace = built({"order": [[20, 0.0], [60, 2.0]]}, between=between)
    factors = [pace.factors(step)[1].item() for step in (0, 20, 30, 40, 60, 99)]
    assert factors == pytest.approx([0, 0, 2 * quarter, 2 * half, 2, 2])
    assert pace.factors(30)[0] == 1


def test_fractions_are_of_the_training_and_whole_numbers_are_steps() -> None:
    fractions, steps = built({"order": [[0.2, 0.0], [1.0, 1.0]]}), built({"order": [[20, 0.0], [100, 1.0]]})
    for step in range(100):
        assert torch.equal(fractions.factors(step), steps.factors(step))
    assert built({"order": [[0, 0.0], [1, 1.0]]}).factors(1)[1] == 1


def test_a_stage_begins_at_the_step_its_fraction_names() -> None:
    pace = built({"order": [[0, 0.0], [0.7, 1.0]]}, steps=10, between="step")  # .7 · 10 is 7.000000000000001
    assert [pace.factors(step)[1].item() for step in (6, 7)] == [0, 1]


def test_changes_name_each_step_at_which_the_members_change() -> None:
    pace = built({"causal": [[0, 1], [30, 0]], "order": [[0.101, 0.0], [0.5, 1.0]]})
    members = [tuple((pace.factors(step) > 0).tolist()) for step in range(100)]
    turns = {step for step in range(1, 100) if members[step] != members[step - 1]}
    assert turns <= set(pace.change_steps())


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ({"order": []}, r"order expects pairs \[when, value\], found \[\]"),
        ({"order": [[1, 2, 3]]}, r"order expects pairs \[when, value\], found \[\[1, 2, 3\]\]"),
        ({"order": [[1.5, 1.0]]}, "found 1.5: write steps without a point"),
        ({"order": [[-1, 1.0]]}, "order expects `when` as .*, found -1"),
        ({"order": [[0, -1.0]]}, "factors of at least 0, found -1.0: use 0"),
        ({"span": [[0, 1.0]]}, "among causal, order, found span: correct the name"),
        ({"order": [[0, 1.0], [101, 0.0]]}, "within the training's 100 steps, found one at 101"),
        ({"order": [[0.5, 1.0], [20, 0.0]]}, "order expects each point later than the one before, found"),
    ],
)
def test_bad_points_are_one_clear_line(points: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        built(points)
    assert "\n" not in str(caught.value)


def test_a_fraction_of_a_training_without_end_is_one_clear_line() -> None:
    with pytest.raises(ValueError, match=r"the fraction 0.5 of, found one without: set max_steps"):
        built({"order": [[0.5, 1.0]]}, steps=-1)
    assert built({"order": [[50, 0.0]]}, steps=-1).factors(10**6)[1] == 0
