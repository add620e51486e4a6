"""A run that is stopped and resumed ends in the same bits as the run without it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from utils.exactness_runs import Run, State, distance, same_bits, train

from lm_objectives.data.plan import ACTIVITY_DELAY

EPOCH = 6  # steps of a bookkeeping epoch of the tiny corpus
# The end of an epoch, the middle of one where a decision of ByDifficulty at step 0 waits for step 17, and after it.
STOPS = (EPOCH, 9, 18)

RUNS = {
    "GradNorm": Run("GradNorm"),
    "pending": Run("ByDifficultyGradNorm", steps=26),
    "UPGrad": Run("UPGrad", precision="32-true"),
    "GradVac": Run("GradVac"),
    "PCGrad": Run("PCGrad"),
    "RandomWeights": Run("RandomWeights"),
    "NashMTL": Run("NashMTL"),
    "ExcessMTL": Run("ExcessMTL"),
    "FAMO": Run("FAMO", precision="32-true"),
    "DynamicWeightAverage": Run("DynamicWeightAverage"),
    "dropout": Run("Uncertainty", backbone="dropout", precision="32-true"),
    "accumulated dropout": Run("StagesGradNorm", backbone="dropout", accumulate=2),
    "workers": Run("IMTLL", workers=1),
    "adam": Run("Fixed", optimizer="adam", precision="32-true"),
    "sgd": Run("Fixed", optimizer="sgd", precision="32-true"),
    "adafactor": Run("Fixed", optimizer="adafactor", precision="16-mixed"),
    "muon": Run("Fixed", optimizer="muon", precision="bf16-mixed"),
    "t5 GradNorm": Run("GradNorm", "written", "t5 dropout", precision="32-true", accumulate=2),
    "bart": Run("GradNorm", "written and masked", "bart dropout"),
    "scaler": Run("GeometricMean", precision="16-mixed", scale=2.0**22),
}
SLOW = {
    "UPGrad",
    "adafactor",
    "sgd",
    "bart",
    "GradVac",
    "PCGrad",
    "RandomWeights",
    "NashMTL",
    "ExcessMTL",
    "DynamicWeightAverage",
    "FAMO",
    "t5 GradNorm",
}
CASES = [pytest.param(run, id=name, marks=[pytest.mark.slow] * (name in SLOW)) for name, run in RUNS.items()]


@pytest.fixture(scope="session")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Run], tuple[State, Path]]:
    """The end state of a run that was not stopped, and the folder with the checkpoints of `STOPS` that it left."""
    done: dict[Run, tuple[State, Path]] = {}

    def get(run: Run) -> tuple[State, Path]:
        if run not in done:
            place = tmp_path_factory.mktemp("checkpoints")
            keep = ModelCheckpoint(place, "{step}", save_top_k=-1, every_n_train_steps=1)
            done[run] = train(run, folder, callbacks=[keep]), place
        return done[run]

    return get


@pytest.mark.parametrize("run", CASES)
def test_a_resumed_run_ends_in_the_same_bits(
    run: Run, folder: Path, whole: Callable[[Run], tuple[State, Path]], alone: Callable[[Run], State]
) -> None:
    state, place = whole(run)
    assert not same_bits(state, alone(run)), "saving alone changed the run"
    for stop in STOPS:
        resumed = train(run, folder, resume=place / f"step={stop}.ckpt")
        assert len(resumed.losses) == run.steps - stop
        assert torch.equal(resumed.losses, state.losses[stop:]), stop
        assert not same_bits(resumed, state), stop


def test_a_decision_was_pending_at_the_stops(alone: Callable[[Run], State]) -> None:
    log = alone(RUNS["pending"]).activity
    assert [step for step, _ in log][:2] == [0, 1 + ACTIVITY_DELAY]
    assert any(step < 1 + ACTIVITY_DELAY for step in STOPS)


@pytest.mark.parametrize(("before", "after", "stop"), [(1, 2, 4), (2, 1, EPOCH), (2, 4, 4)])
def test_a_run_goes_on_with_another_accumulation(
    before: int, after: int, stop: int, folder: Path, whole: Callable[[Run], tuple[State, Path]]
) -> None:
    """Oracle: the run that kept its accumulation; how a step is divided is not what it is."""
    run = Run("GradNorm", accumulate=before)
    state, place = whole(run)
    resumed = train(replace(run, accumulate=after), folder, resume=place / f"step={stop}.ckpt")
    assert len(resumed.losses) == run.steps - stop
    assert distance(resumed.model, state.model) <= 1e-12
    assert distance(resumed.balancer, state.balancer) <= 1e-12


class SaveAfter(Callback):
    """Saves once, when so many micro-batches are done."""

    def __init__(self, micro_batches: int, path: Path) -> None:
        self.left, self.path = micro_batches, path

    def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
        self.left -= 1
        if not self.left:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("micro_batches", [7, 2 * EPOCH + 1])
def test_a_checkpoint_between_two_micro_batches(micro_batches: int, folder: Path, tmp_path: Path) -> None:
    """The step that it was saved in is taken again whole. Oracle: the run that was not stopped, to the last bit."""
    run = Run("GradNorm", accumulate=2)
    state = train(run, folder, callbacks=[SaveAfter(micro_batches, tmp_path / "middle.ckpt")])
    resumed = train(run, folder, resume=tmp_path / "middle.ckpt")
    assert len(resumed.losses) == run.steps - micro_batches // 2
    assert torch.equal(resumed.losses, state.losses[micro_batches // 2 :])
    assert not same_bits(resumed, state)
