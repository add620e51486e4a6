"""`Competence` against the paper's square root, solved for the time by hand."""

import math

import pytest
import torch

from lm_objectives.balancers import Competence

NAMES = ("causal", "masked", "replaced", "order")


def built(steps: int = 1000, **arguments: object) -> Competence:
    pace = Competence(**{"order": list(NAMES)} | arguments)
    pace.setup(NAMES, torch.ones(4), steps)
    return pace


def test_each_comes_in_when_the_square_root_reaches_its_difficulty() -> None:
    pace = built(initial=0.1, duration=800)
    for index in range(1, 4):
        # c(t) = d  <=>  t = T (d² - c0²) / (1 - c0²)
        first = math.ceil(800 * ((index / 4) ** 2 - 0.01) / 0.99)
        assert pace.factors(first - 1).tolist() == [1.0] * index + [0.0] * (4 - index)
        assert pace.factors(first).tolist() == [1.0] * (index + 1) + [0.0] * (3 - index)


def test_the_order_is_by_name_and_the_first_is_in_at_once() -> None:
    pace = built(order=["order", "replaced", "masked", "causal"])
    assert pace.factors(0).tolist() == [0, 0, 0, 1]
    assert pace.factors(999).tolist() == [1, 1, 1, 1]


def test_a_fraction_is_of_the_training() -> None:
    fraction, steps = built(duration=0.25), built(duration=250)
    assert all(torch.equal(fraction.factors(step), steps.factors(step)) for step in range(0, 1000, 7))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"initial": 0.0}, "an initial competence above 0 and at most 1, found 0.0"),
        ({"duration": 1.5}, "as a fraction up to 1.0, found 1.5: write steps without a point"),
        ({"duration": 0}, "found 0"),
        (
            {"order": ["causal", "masked"]},
            "an order of causal, masked, replaced, order, found causal, masked: name each",
        ),
    ],
)
def test_bad_arguments_are_one_clear_line(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        built(**arguments)
