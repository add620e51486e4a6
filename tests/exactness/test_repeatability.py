"""The same command twice, and with any number of dataloader workers, gives the same bits."""

import pickle
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from utils.exactness_runs import Run, State, same_bits, train

QUICK = {"GradNorm", "ByDifficultyGradNorm", "RandomWeights", "UPGrad"}
SLOW = {"PCGrad", "GradVac", "CAGrad", "NashMTL", "Stages", "FAMO"}  # draw, remember, solve, go by the step, by losses


def carry_out(run: Run, folder: Path) -> bytes:
    """A run in a process of its own; bytes, since tensors on their way through a pool would need shared memory."""
    return pickle.dumps(train(run, folder))


@pytest.fixture(scope="module")
def elsewhere(folder: Path) -> Iterator[Callable[[Run], State]]:
    """Carries runs out in another process, started afresh."""
    with get_context("spawn").Pool(1) as pool:
        yield lambda run: pickle.loads(pool.apply(carry_out, (run, folder)))


CASES = [
    pytest.param(Run(name, precision="32-true"), id=name, marks=[pytest.mark.slow] * (name in SLOW))
    for name in sorted(QUICK | SLOW)
]
DROPOUT = pytest.param(Run("Uncertainty", backbone="dropout", precision="32-true"), id="dropout")


@pytest.mark.parametrize("run", [*CASES, DROPOUT])
def test_two_processes_end_in_the_same_bits(
    run: Run, alone: Callable[[Run], State], elsewhere: Callable[[Run], State]
) -> None:
    assert not same_bits(elsewhere(run), alone(run))


@pytest.mark.parametrize("name", ["ByDifficultyGradNorm", "UPGrad"])
def test_workers_change_no_bit(name: str, alone: Callable[[Run], State]) -> None:
    # 22 steps: the rows that a decision of the first step changes are read from step 17 on
    none, one, two = (alone(Run(name, precision="32-true", workers=workers, steps=22)) for workers in (0, 1, 2))
    assert not same_bits(one, none)
    assert not same_bits(two, none)


def test_bits_are_compared() -> None:
    tensors = {"weight": torch.ones(2)}
    state = State({}, tensors, {}, [], torch.zeros(1, 1), torch.zeros(1, 1), 0, {}, [], {})
    assert not same_bits(state, state)
    assert same_bits(state, state._replace(model={"weight": torch.ones(2).nextafter(torch.zeros(2))})) == [
        "model weight"
    ]
    assert same_bits(state, state._replace(model={}, tokens=1)) == ["model weight", "tokens"]
