"""`Fixed` against the weights it was told."""

import math

import pytest
import torch

from lm_objectives.balancers import Fixed


def built(weights: dict[str, float] | None) -> Fixed:
    balancer = Fixed(weights)
    balancer.setup(("causal", "masked"), torch.tensor([8.0, 8.0]), 10)
    return balancer


def test_each_weighs_one_where_nothing_is_chosen() -> None:
    assert built(None).weights(0).tolist() == [1, 1]


def test_weights_follow_the_names_not_the_order_they_are_written_in() -> None:
    assert built({"masked": 3.0, "causal": 0.5}).weights(7).tolist() == [0.5, 3.0]


def test_a_single_objective_keeps_the_weight_it_was_given() -> None:
    balancer = Fixed({"causal": 2.0})
    balancer.setup(("causal",), torch.tensor([8.0]), 10)
    assert balancer.weights(0).tolist() == [2]


def test_an_objective_of_weight_zero_reads_no_rows() -> None:
    assert built({"causal": 1.0, "masked": 0.0}).active(0).tolist() == [True, False]


def test_chosen_weights_win_over_a_checkpoint() -> None:
    balancer = built({"causal": 1.0, "masked": 4.0})
    balancer.load_state_dict(built(None).state_dict())
    assert balancer.weights(0).tolist() == [1, 4]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"causal": 1.0}, "one weight for each of causal, masked, found weights for causal: name just these"),
        ({"causal": 1.0, "masked": 1.0, "span": 1.0}, "found weights for causal, masked, span"),
        ({}, "found weights for none"),
        ({"causal": -1.0, "masked": 1.0}, "at least 0, found -1.0 for causal: use 0"),
        ({"causal": math.nan, "masked": 1.0}, "at least 0, found nan for causal"),
        ({"causal": 0.0, "masked": 0.0}, "a weight above 0, found only zeros: give one"),
    ],
)
def test_bad_weights_are_one_clear_line(weights: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        built(weights)
    assert "\n" not in str(caught.value)
