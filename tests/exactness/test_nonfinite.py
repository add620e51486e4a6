"""A step in which anything is not finite is dropped whole, or stops the training; nothing is poisoned by it."""

from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor
from utils.callback_runs import fit
from utils.exactness_pair import Pair
from utils.exactness_runs import Run, State, balancer_state, flat, tensors_in, train

from lm_objectives.training.step import NonFiniteError

BAD_STEP = 6
BALANCERS = ["Uncertainty", "GradNorm", "FAMO", "DynamicWeightAverage", "UPGrad", "ExcessMTL"]


class Witness(Callback):
    """Everything that a step may change, just before it and just after it."""

    def __init__(self) -> None:
        self.before: list[dict[str, Tensor]] = []
        self.after: list[dict[str, Tensor]] = []

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Any) -> None:
        del optimizer
        self.before.append(self._everything(trainer, pl_module))

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        del args
        if len(self.before) > len(self.after):
            self.after.append(self._everything(trainer, pl_module))

    def changed(self, step: int) -> list[str]:
        """Names of what step `step` changed."""
        before, after = self.before[step], self.after[step]
        return [name for name in before.keys() | after.keys() if not _equal(before.get(name), after.get(name))]

    @staticmethod
    def _everything(trainer: L.Trainer, module: L.LightningModule) -> dict[str, Tensor]:
        optimizer = tensors_in(trainer.optimizers[0].state_dict()["state"], "optimizer")
        parameters = {name: p.detach().clone() for name, p in module.named_parameters()}
        return parameters | optimizer | {f"balancer {k}": v for k, v in balancer_state(module.balancer).items()}


def _equal(one: Tensor | None, other: Tensor | None) -> bool:
    return one is not None and other is not None and torch.equal(one, other)


def poisoned(balancer: str, kind: str, **settings: Any) -> Run:
    return Run(balancer, objectives=f"poisoned_{kind}", precision="32-true", steps=12, **settings)


@pytest.mark.parametrize("kind", ["nan", "inf", "gradient"])
@pytest.mark.parametrize("balancer", BALANCERS)
def test_a_step_that_is_not_finite_changes_nothing(balancer: str, kind: str, folder: Path) -> None:
    witness = Witness()
    state = train(poisoned(balancer, kind), folder, callbacks=[witness])
    assert state.skipped == [BAD_STEP]
    assert not witness.changed(BAD_STEP)
    assert all(witness.changed(step) for step in range(12) if step != BAD_STEP)
    expect_finite(state)


def expect_finite(state: State) -> None:
    """All of the end state; DWA and ByDifficulty may hold infinities of their own, none of these balancers does."""
    for part in (state.model, state.balancer, state.optimizer):
        assert flat(part).isfinite().all()


def test_an_accumulated_step_is_dropped_with_all_its_micro_batches(folder: Path) -> None:
    witness = Witness()
    state = train(poisoned("GradNorm", "nan", accumulate=2), folder, callbacks=[witness])
    assert state.skipped == [BAD_STEP // 2]
    assert not witness.changed(BAD_STEP // 2)
    expect_finite(state)


def test_one_rank_alone_drops_the_step_on_both(pair: Pair) -> None:
    first, second = pair.run(Run("GradNorm", objectives="poisoned_on_rank_1", steps=12))
    assert first.skipped == second.skipped == [BAD_STEP]
    assert torch.equal(flat(first.model), flat(second.model))
    assert torch.equal(flat(first.balancer), flat(second.balancer))
    expect_finite(first)


@pytest.mark.parametrize(("kind", "culprit"), [("nan", "poisoned"), ("inf", "poisoned"), ("gradient", "a gradient")])
def test_stops_where_it_is_told_to(kind: str, culprit: str, folder: Path) -> None:
    with pytest.raises(NonFiniteError, match=f"found {culprit} not finite at step {BAD_STEP}: lower the learning rate"):
        train(poisoned("GradNorm", kind, on_nonfinite="stop"), folder)


class Diverge(Callback):
    """Makes every loss from a step on NaN, by the one parameter that all of them use."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        if trainer.global_step == self.step:
            with torch.no_grad():
                pl_module.backbone.embedding.fill_(float("nan"))


@pytest.mark.parametrize(
    ("first", "steps", "told"),
    [
        (8, 12, None),  # 4 of 12
        (0, 4, None),  # too few to say
        (3, 12, "found 9 of the last 12 skipped at step 12"),
        (2, 90, "found 51 of the last 53 skipped at step 53"),
    ],
)
def test_a_run_that_skips_most_of_its_last_steps_ends(
    first: int, steps: int, told: str | None, text: Path, tmp_path: Path
) -> None:
    if told is None:
        trainer, module = fit(text, tmp_path, [Diverge(first)], max_steps=steps)
        assert (trainer.global_step, module.steps_skipped) == (steps, steps - first)
        return
    with pytest.raises(NonFiniteError, match=told):
        fit(text, tmp_path, [Diverge(first)], max_steps=steps)


def test_skipped_steps_are_counted_over_a_resume(text: Path, tmp_path: Path) -> None:
    """Oracle: the step at which the run that was left alone ends."""
    keep = ModelCheckpoint(every_n_train_steps=30, save_top_k=-1, filename="at", auto_insert_metric_name=False)
    with pytest.raises(NonFiniteError, match="at step 53"):
        fit(text, tmp_path, [Diverge(2), keep], max_steps=90)
    with pytest.raises(NonFiniteError, match="found 51 of the last 53 skipped at step 53"):
        fit(text, tmp_path, resume=tmp_path / "checkpoints" / "at.ckpt", max_steps=90)


@pytest.mark.parametrize(
    ("balancer", "accumulate", "on_nonfinite"), [("GradNorm", 1, "stop"), ("FAMO", 2, "skip"), ("UPGrad", 2, "stop")]
)
def test_a_step_that_overflows_half_precision_changes_nothing(
    balancer: str, accumulate: int, on_nonfinite: str, folder: Path
) -> None:
    """The scaler halves its scale after each such step; that is how it finds one, so that it never stops a training."""
    witness = Witness()
    run = Run(balancer, precision="16-mixed", scale=2.0**22, accumulate=accumulate, on_nonfinite=on_nonfinite)
    state = train(run, folder, callbacks=[witness])
    assert state.skipped and state.skipped == list(range(len(state.skipped)))
    assert len(state.skipped) < run.steps - 5
    for step in range(run.steps):
        assert bool(witness.changed(step)) == (step not in state.skipped), step
    expect_finite(state)
