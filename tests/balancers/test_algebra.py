"""What every balancer promises, asserted once over all of them."""

import copy
import sys
from subprocess import check_output

import jsonargparse
import pytest
import torch
from torch import Tensor
from utils.balancer_cases import CLASSES, INITIAL, NAMES, OWN, make, totals

from lm_objectives.balancers import Balancer, StepStatistics
from lm_objectives.plugin import from_config, to_config

EVERY = list(CLASSES)
SUM_TO_COUNT = ("Fixed", "GradNorm", "RandomWeights", "DynamicWeightAverage", "FAMO")
KEPT = ("Uncertainty", "Liebel", "IMTLL", "RandomWeights", "Stages")  # learned, drawn or scheduled, and said to be
BLIND_TO_UNITS = ("Fixed", "GradNorm", "DynamicWeightAverage")  # L and L(0) in other units for one objective


def run(balancer: Balancer, steps: range, trained: Tensor | None = None) -> list[Tensor]:
    """Weights of each step, the deferred ones where there are such."""
    history = []
    for step in steps:
        before = balancer.weights(step)
        after = balancer.update(totals(step, trained, balancer.names))
        history.append(before if after is None else after)
    return history


@pytest.mark.parametrize("name", EVERY)
def test_weights_are_finite_and_those_before_the_step_not_negative(name: str) -> None:
    balancer = make(name)
    for weights in run(balancer, range(12)):
        assert weights.shape == (3,) and weights.dtype == INITIAL.dtype and weights.isfinite().all()
    assert (balancer.weights(12) >= 0).all()


@pytest.mark.parametrize("name", SUM_TO_COUNT)
def test_weights_sum_to_the_number_of_objectives(name: str) -> None:
    for weights in run(make(name), range(12)):
        assert weights.sum().item() == pytest.approx(3)


@pytest.mark.parametrize("name", EVERY)
def test_asking_for_weights_changes_nothing(name: str) -> None:
    asked, silent = make(name), make(name)
    for step in range(4):
        assert torch.equal(asked.weights(step), asked.weights(step))
        first, second = asked.update(totals(step)), silent.update(totals(step))
        assert first is None or torch.equal(first, second)
    assert torch.equal(asked.weights(4), silent.weights(4))


@pytest.mark.parametrize("name", BLIND_TO_UNITS)
def test_one_objective_in_other_units_changes_no_weight(name: str) -> None:
    """The losses' unit is arbitrary; GradNorm's gradients are left, since its norms are what it equalises."""
    unit = torch.tensor([1.0, 100.0, 1.0], dtype=torch.double)
    balancer, other = make(name), make(name, initial=INITIAL * unit)
    for step in range(8):
        told = totals(step)
        balancer.update(told)
        other.update(StepStatistics(step, told.losses * unit, told.trained, told.gradients))
    torch.testing.assert_close(other.weights(8), balancer.weights(8))


@pytest.mark.parametrize("name", ["GeometricMean", "FAMO"])
def test_weighted_losses_do_not_depend_on_units_but_for_a_common_factor(name: str) -> None:
    unit = torch.tensor([1.0, 100.0, 1.0], dtype=torch.double)
    balancer, other = make(name), make(name, initial=INITIAL * unit)
    for step in range(8):
        told = totals(step)
        balancer.update(told)
        other.update(StepStatistics(step, told.losses * unit, told.trained))
    weighted, rescaled = balancer.weights(8) * totals(7).losses, other.weights(8) * totals(7).losses * unit
    torch.testing.assert_close(rescaled / rescaled[0], weighted / weighted[0])


@pytest.mark.parametrize("name", ["IMTLL", "Uncertainty"])
def test_learned_scales_settle_where_units_do_not_matter(name: str) -> None:
    losses = torch.tensor([3.0, 0.1, 20.0], dtype=torch.double)
    balancer = make(name)
    for step in range(3000):
        balancer.update(StepStatistics(step, losses, torch.ones(3, dtype=torch.bool)))
    weighted = balancer.weights(3000) * losses
    torch.testing.assert_close(weighted, weighted[:1].expand(3))


@pytest.mark.parametrize("order", [[2, 0, 1], [1, 0, 2]])
@pytest.mark.parametrize("name", EVERY)
def test_the_order_of_objectives_does_not_matter(name: str, order: list[int]) -> None:
    """Draws go by name, as does what a weighting does with the first of several, and who is absent."""
    shuffle = torch.tensor(order)
    balancer = make(name)
    other = make(name, tuple(NAMES[i] for i in shuffle), INITIAL[shuffle])
    for step in range(8):
        told = totals(step, torch.tensor([True, step != 5, True]))
        torch.testing.assert_close(other.weights(step), balancer.weights(step)[shuffle], rtol=1e-12, atol=1e-12)
        first = balancer.update(told)
        second = other.update(
            StepStatistics(step, told.losses[shuffle], told.trained[shuffle], told.gradients[shuffle])
        )
        if first is not None:
            torch.testing.assert_close(second, first[shuffle], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(other.weights(8), balancer.weights(8)[shuffle], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in EVERY if name != "Stages"])
def test_one_objective_weighs_one(name: str) -> None:
    """Not so with `Stages`, which scales even a single objective as its points say."""
    for weights in run(make(name, NAMES[:1], INITIAL[:1]), range(6)):
        assert weights.tolist() == [1]


@pytest.mark.parametrize("name", [name for name in EVERY if name not in KEPT])
def test_an_objective_trained_alone_weighs_one(name: str) -> None:
    balancer = make(name)
    alone = torch.tensor([True, False, False])
    history = run(balancer, range(3), alone)
    weight = history[-1][0] if balancer.deferred else balancer.weights(3)[0]
    assert weight.item() == pytest.approx(1)


@pytest.mark.parametrize("name", EVERY)
def test_a_resumed_balancer_goes_on_bit_identically(name: str, tmp_path: object) -> None:
    straight, stopped = make(name), make(name)
    run(straight, range(7))
    run(stopped, range(7))
    torch.save(stopped.state_dict(), f"{tmp_path}/state.pt")
    resumed = make(name)
    resumed.load_state_dict(torch.load(f"{tmp_path}/state.pt", weights_only=True))
    for first, second in zip(run(straight, range(7, 14)), run(resumed, range(7, 14)), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("name", OWN)
def test_the_state_of_the_absent_is_left_alone(name: str) -> None:
    balancer = make(name)
    run(balancer, range(4))
    before = copy.deepcopy(balancer.state_dict())
    run(balancer, range(4, 6), torch.tensor([True, True, False]))
    changed = balancer.state_dict()
    per_objective = [key for key, value in before.items() if value.shape[-1:] == (3,)]
    for key in per_objective:
        assert torch.equal(changed[key][..., 2], before[key][..., 2]), key
    if name not in ("Fixed", "RandomWeights"):
        assert any(not torch.equal(changed[key][..., :2], before[key][..., :2]) for key in per_objective)


@pytest.mark.parametrize("name", EVERY)
def test_state_is_in_buffers_and_nothing_is_a_parameter(name: str) -> None:
    balancer = make(name)
    assert not list(balancer.parameters())
    run(balancer, range(3))
    assert {buffer.dtype for buffer in balancer.buffers()} <= {torch.double, torch.long, torch.bool}


@pytest.mark.parametrize("name", EVERY)
def test_plain_data_describes_and_rebuilds_it(name: str) -> None:
    balancer = make(name)
    again = from_config(to_config(balancer))
    again.setup(NAMES, INITIAL, 40)
    for first, second in zip(run(balancer, range(5)), run(again, range(5)), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("name", EVERY)
def test_yaml_builds_it(name: str) -> None:
    balancer = make(name)
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--balancer", type=Balancer)
    description = {"balancer": to_config(balancer)}
    text = parser.dump(parser.parse_object(description))
    built = parser.instantiate_classes(parser.parse_string(text)).balancer
    built.setup(NAMES, INITIAL, 40)
    for first, second in zip(run(balancer, range(5)), run(built, range(5)), strict=True):
        assert torch.equal(first, second)


def test_a_short_name_and_flags_build_it() -> None:
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--balancer", type=Balancer)
    arguments = ["--balancer=Curriculum", "--balancer.pace=Competence", "--balancer.pace.duration=7"]
    arguments += ["--balancer.pace.order=[a, b]", "--balancer.inner=GradNorm"]
    built = parser.instantiate_classes(parser.parse_args(arguments)).balancer
    assert (type(built.inner).__name__, built.pace.duration) == ("GradNorm", 7)


def test_importing_the_balancers_imports_neither_torchjd_nor_lightning() -> None:
    code = "import sys, lm_objectives.balancers; print('torchjd' in sys.modules, 'lightning' in sys.modules)"
    assert check_output([sys.executable, "-c", code], text=True).split() == ["False", "False"]
