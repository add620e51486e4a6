"""Directions, units and spellings of numbers, against the metrics that evaluations give."""

import pytest

from lm_objectives.comparison.evidence.metrics import (
    claimed_direction,
    complete,
    describe,
    direction,
    format_amount,
    format_difference,
    format_p,
    format_value,
    unit,
)
from lm_objectives.errors import InputError
from lm_objectives.evaluation.results import Result, results_table

GREATER = ("accuracy", "accuracy_by_mean", "auc", "f1")
SMALLER = ("nats", "bits_per_byte", "calibration_error", "perplexity", "loss", "generator", "discriminator")
NEITHER = ("entropy", "temperature", "control_accuracy", "accuracy_seed_deviation", "of_my_own")


@pytest.mark.parametrize("metric", GREATER + SMALLER + NEITHER)
def test_direction(metric: str) -> None:
    """Oracle: the list of all metrics of the shipped tasks and objectives."""
    expected = "greater" if metric in GREATER else "smaller" if metric in SMALLER else None
    assert direction(f"held_out/causal/{metric}") == expected


@pytest.mark.parametrize("metric", NEITHER)
def test_a_claim_needs_a_direction(metric: str) -> None:
    """Oracle: the message, in one line with expected, found and mend."""
    with pytest.raises(InputError, match=rf"^expected a claim on .*, found held_out/causal/{metric}: .*claim one of"):
        claimed_direction(f"held_out/causal/{metric}")


def test_a_name_is_completed() -> None:
    """Oracle: nats of held-out text, accuracy of everything else, and what is whole stays."""
    assert complete("held_out/masked") == "held_out/masked/nats"
    assert complete("swaps/masked") == "swaps/masked/accuracy"
    assert complete("blimp/causal/accuracy_by_mean") == "blimp/causal/accuracy_by_mean"


@pytest.mark.parametrize("name", ["held_out", "held_out/", "a/b/c/d", ""])
def test_what_is_no_number(name: str) -> None:
    """Oracle: the message."""
    with pytest.raises(InputError, match="expected a number as task/reading/metric, found"):
        complete(name)


@pytest.mark.parametrize("name", ["probes", "probes/order", "probes/order/causal_layer_4/accuracy/more"])
def test_a_probe_is_a_task(name: str) -> None:
    """Oracle: the message."""
    with pytest.raises(InputError, match="expected a number as probes/order/layer/metric, found"):
        complete(name)


def test_values_are_written_as_in_an_evaluation() -> None:
    """Oracle: the table of `evaluate`, for a metric of each kind."""
    for metric in (*GREATER, *SMALLER, "entropy", "control_accuracy"):
        written = format_value(f"swaps/causal/{metric}", 0.57312)
        assert f"  {written}  " in results_table([Result("swaps", "causal", metric, 0.57312, 10)])


def test_differences() -> None:
    """Oracle: numbers by hand; no difference has a sign of minus and rounds to 0 points."""
    accuracy, nats = "blimp/causal/accuracy", "held_out/causal/nats"
    assert [format_difference(accuracy, d) for d in (0.007, -0.069, -0.0001)] == ["+0.7", "-6.9", "+0.0"]
    assert [format_difference(nats, d) for d in (0.0154, -0.00484, -0.31)] == ["+0.015", "-0.0048", "-0.310"]
    assert (format_amount(accuracy, 0.014), format_amount(nats, 0.31)) == ("1.4 points", "0.310 nats")
    assert unit("held_out/causal/bits_per_byte") == "bits per byte"
    assert describe("held_out/causal/bits_per_byte") == "bits per byte of held_out, read as causal"
    assert describe("probes/order/causal_layer_4/accuracy") == "probes/order, read as causal_layer_4"


@pytest.mark.parametrize("level", [0.05, 0.025])
def test_a_p_value_is_written_on_its_side_of_the_level(level: float) -> None:
    """Property: what is read is below the level where the p-value is."""
    for p in (level - 1e-6, level, level + 1e-6, 0.5, 1.0, 0.0002):
        assert (float(format_p(p, level)) < level) == (p < level)
