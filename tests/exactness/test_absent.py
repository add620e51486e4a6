"""An objective that scores no position in a step, or has no rows in it, is no part of that step."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from utils.exactness_runs import Run, State, make_data, make_module, make_trainer, quiet


class Weights(Callback):
    """What each step was taken with, and who was present."""

    def __init__(self) -> None:
        self.records: list = []

    def on_train_batch_end(self, trainer: object, pl_module: object, *_: object) -> None:
        self.records.append(pl_module.last_step)  # type: ignore[attr-defined]


@pytest.mark.parametrize("balancer", ["GradNorm", "GeometricMean", "FAMO", "UPGrad"])
def test_a_step_without_a_scored_position_leaves_the_balancer_alone(balancer: str, folder: Path) -> None:
    """Steps 0, 2, … score nothing; a loss of 0 in them would make the geometric mean's weights 1e-8 and 1e8."""
    run, seen = Run(balancer, "silent", steps=8), Weights()
    with quiet():
        torch.manual_seed(0)
        module = make_module(run)
        make_trainer(run, 1, [seen]).fit(module, make_data(run, folder))
    silent = module.names.index("silent")
    assert [record.has_rows for record in seen.records] == 4 * [(False, True), (True, True)]
    assert silent == 0
    for before, after in zip(seen.records[::2], seen.records[1::2], strict=True):
        if not module.balancer.deferred:
            assert after.weights[silent] == before.weights[silent]  # the silent step taught nothing of it
    assert max(float(record.weights.max()) for record in seen.records) < 5


def test_an_objective_of_less_than_a_unit_is_absent_from_steps(alone: Callable[[Run], State], folder: Path) -> None:
    """Oracle: the plan, and 8 units x 1/25 over 20 steps."""
    run = Run("GradNorm", "seldom")
    data, module = make_data(run, folder), make_module(run)
    data.open(module.sources)
    present = [set(data.plan.rows(step)) for step in range(run.steps)]
    assert sum("masked" in names for names in present) in (6, 7)
    losses = alone(run).losses
    for step, names in enumerate(present):
        assert [bool(loss) for loss in losses[step]] == [name in names for name in module.names]
