"""`Curriculum` against the product of its pace and its inner balancer."""

import pytest
import torch
from utils.balancer_cases import INITIAL, NAMES, totals

from lm_objectives.balancers import (
    Balancer,
    ByDifficulty,
    Competence,
    Curriculum,
    Fixed,
    GradNorm,
    PacingFunction,
    RandomWeights,
    Stages,
    StepStatistics,
)


def built(pace: PacingFunction, inner: Balancer | None = None, steps: int = 100) -> Curriculum:
    balancer = Curriculum(pace, inner)
    balancer.setup(NAMES, INITIAL, steps)
    return balancer


def test_competence_brings_in_one_after_the_other() -> None:
    balancer = built(Competence(list(NAMES)))
    members = [balancer.weights(step).tolist() for step in range(100)]
    assert [members[0], members[20], members[50]] == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]


def test_weights_are_factors_times_inner_weights() -> None:
    inner = RandomWeights(seed=5)
    balancer = built(Stages({"order": [[0, 0.0], [100, 1.0]]}), inner)
    expected = inner.weights(25) * torch.tensor([1.0, 1.0, 0.25], dtype=torch.double)
    torch.testing.assert_close(balancer.weights(25), expected)


@pytest.mark.parametrize("pace", [Stages({"order": [[0.3, 0.0], [0.5, 1.0]]}), Competence(list(NAMES))])
def test_active_foretells_the_weights_of_every_step(pace: PacingFunction) -> None:
    balancer = built(pace)
    for step in range(100):
        assert torch.equal(balancer.active(step), balancer.weights(step) > 0)


def test_an_objective_that_the_inner_balancer_leaves_out_is_not_active() -> None:
    balancer = built(Stages({}), Fixed({"causal": 1.0, "masked": 0.0, "order": 1.0}))
    assert balancer.active(0).tolist() == [True, False, True]


def test_by_difficulty_waits_for_losses_of_the_step() -> None:
    balancer = built(ByDifficulty(list(NAMES), target_loss={"causal": 3.0}, smoothing=0.0))
    balancer.update(
        StepStatistics(0, torch.tensor([2.9, 0, 0], dtype=torch.double), torch.tensor([True, False, False]))
    )
    assert balancer.active(1).tolist() == [True, True, False]


def test_the_inner_balancer_learns_from_those_present() -> None:
    balancer, alone = built(Stages({}), GradNorm()), GradNorm()
    alone.setup(NAMES, INITIAL, 100)
    for step in range(4):
        told = totals(step, torch.tensor([True, True, step > 1]))
        balancer.update(told)
        alone.update(told)
    assert torch.equal(balancer.weights(4), alone.weights(4))


def test_it_asks_for_what_its_inner_balancer_asks_for() -> None:
    plain, wrapped = Curriculum(Stages({})), Curriculum(Stages({}), GradNorm(layer=-3))
    assert (plain.needs, plain.deferred, plain.layer) == ("losses", False, -1)
    assert (wrapped.needs, wrapped.deferred, wrapped.layer) == ("last_layer", False, -3)
    assert Curriculum(Stages({}), wrapped).layer == -3


def test_a_deferred_inner_balancer_has_its_weights_multiplied() -> None:
    pytest.importorskip("torchjd")
    from lm_objectives.balancers import TorchJD

    balancer, alone = built(Stages({"order": [[0, 0.5]]}), TorchJD()), TorchJD()
    alone.setup(NAMES, INITIAL, 100)
    assert (balancer.needs, balancer.deferred) == ("all_layers", True)
    assert balancer.weights(0).tolist() == [1, 1, 0.5]
    expected = alone.update(totals(0)) * torch.tensor([1.0, 1.0, 0.5], dtype=torch.double)
    torch.testing.assert_close(balancer.update(totals(0)), expected)


@pytest.mark.parametrize(
    ("pace", "inner", "step"),
    [
        (Stages({name: [[0, 0.0], [50, 1.0]] for name in NAMES}), None, 0),
        (Stages({name: [[10, 1.0], [20, 0.0], [30, 1.0]] for name in NAMES}), None, 20),
        (Stages({"causal": [[30, 1.0], [40, 0.0]]}), Fixed({"causal": 1.0, "masked": 0.0, "order": 0.0}), 40),
    ],
)
def test_a_step_without_any_objective_is_one_clear_line(
    pace: PacingFunction, inner: Balancer | None, step: int
) -> None:
    with pytest.raises(ValueError, match=f"at every step, found none at step {step}: let one in"):
        built(pace, inner)
