"""Half precision gives the weights of single precision within its own rounding, and no balancer sees the loss scale.

Oracle: the same run in 32-true. What is compared is the way that the weights went from their start, by SGD: it is
linear in the gradients, so that their rounding stays rounding, where Adam divides by their size.
Inputs of matrix products are rounded to half precision, each by up to the unit roundoff (2^-11 of fp16, 2^-8 of bf16);
roundings in a product are independent and mostly cancel, so that a whole run stays within 4 of these units.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from utils.exactness_pair import Pair
from utils.exactness_runs import Run, State, distance, flat, train

from lm_objectives.training.step import StepAccumulator

Alone = Callable[[Run], State]

UNIT_ROUNDOFF = {"16-mixed": 2.0**-11, "bf16-mixed": 2.0**-8}
LOW, HIGH = 2.0**6, 2.0**9  # neither overflows in these runs
QUICK = {"Uncertainty", "GradNorm", "FAMO", "UPGrad"}
SLOW = {"StagesGradNorm", "ByDifficulty", "DynamicWeightAverage", "IMTLL"}  # what else weights can go by
NAMES = [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in sorted(QUICK | SLOW)]


def drift(state: State, oracle: State) -> float:
    """Distance between two ends, relative to the way from the start."""
    a, b, origin = flat(state.model), flat(oracle.model), flat(oracle.start)
    return float((a - b).norm() / (b - origin).norm())


@pytest.mark.parametrize("precision", UNIT_ROUNDOFF)
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_ends_where_single_precision_does(name: str, precision: str, alone: Alone) -> None:
    oracle = alone(Run(name, precision="32-true", optimizer="sgd"))
    state = alone(Run(name, precision=precision, optimizer="sgd", scale=LOW))
    tolerance = 4 * UNIT_ROUNDOFF[precision]
    assert not state.skipped
    assert 0 < drift(state, oracle) < tolerance
    assert distance(state.balancer, oracle.balancer) < tolerance


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_scale_reaches_no_balancer(name: str, alone: Alone) -> None:
    low, high = (alone(Run(name, precision="16-mixed", optimizer="sgd", scale=scale)) for scale in (LOW, HIGH))
    assert not high.skipped
    assert distance(high.balancer, low.balancer) < 4 * UNIT_ROUNDOFF["16-mixed"]


def test_a_loss_scale_that_leaks_fails_the_same_test(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = StepAccumulator.reduce
    monkeypatch.setattr(
        StepAccumulator, "reduce", lambda step, ranks, reduce, scale: whole(step, ranks, reduce, scale=1.0)
    )
    runs = [Run("GradNorm", precision="16-mixed", optimizer="sgd", scale=scale) for scale in (LOW, HIGH)]
    low, high = (train(run, folder) for run in runs)
    assert distance(high.balancer, low.balancer) > 40 * UNIT_ROUNDOFF["16-mixed"]


@pytest.mark.parametrize(("name", "precision"), [("GradNorm", "16-mixed"), ("UPGrad", "bf16-mixed")])
def test_a_pair_and_accumulation_agree_in_half_precision(name: str, precision: str, alone: Alone, pair: Pair) -> None:
    run = Run(name, precision=precision, optimizer="sgd", scale=LOW)
    first, second = pair.run(replace(run, accumulate=2))
    assert not (flat(first.model) != flat(second.model)).any()
    assert drift(first, alone(run)) < 4 * UNIT_ROUNDOFF[precision]
    assert distance(first.balancer, alone(run).balancer) < 4 * UNIT_ROUNDOFF[precision]
