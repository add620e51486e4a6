"""Limits of a Trainer in micro-batches and steps, against what Lightning's loops make of them."""

from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
from lightning.pytorch.callbacks import ModelCheckpoint, Timer
from lightning.pytorch.trainer.connectors.data_connector import _parse_num_batches
from lightning.pytorch.trainer.states import RunningStage

from lm_objectives.data.trainer import (
    batches_of_epoch,
    check_whole_steps,
    prepare_dev_run,
    repeated_steps,
    training_steps,
    validate_each_objective,
)
from lm_objectives.errors import InputError

STEPS = 10  # of an epoch


def trainer(root: Path, **settings: Any) -> L.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return L.Trainer(accelerator="cpu", default_root_dir=root, **quiet | settings)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(
    "settings",
    [{}, {"limit_train_batches": 0.3}, {"limit_train_batches": 4}, {"limit_train_batches": 99}, {"overfit_batches": 6}],
)
def test_batches_are_counted_as_lightning_does(accumulate: int, settings: dict[str, Any], tmp_path: Path) -> None:
    made = trainer(tmp_path, accumulate_grad_batches=accumulate, **settings)
    expected = _parse_num_batches(RunningStage.TRAINING, STEPS * accumulate, made.limit_train_batches)
    assert batches_of_epoch(made, STEPS) == expected
    assert repeated_steps(made, STEPS) == (expected // accumulate if settings.keys() == {"overfit_batches"} else None)


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"max_steps": 7}, 7),
        ({"max_steps": -1}, -1),
        ({"max_epochs": 3}, 30),
        ({"max_epochs": 3, "max_steps": 7}, 7),
        ({"max_epochs": 2, "limit_train_batches": 0.5, "accumulate_grad_batches": 2}, 10),
        ({"max_epochs": 2, "overfit_batches": 1}, 2),
        ({"fast_dev_run": 3, "accumulate_grad_batches": 2}, 2),
        ({"fast_dev_run": True, "accumulate_grad_batches": 4}, 1),
    ],
)
def test_the_length_of_a_training(settings: dict[str, Any], steps: int, tmp_path: Path) -> None:
    made = trainer(tmp_path, **settings)
    prepare_dev_run(made)
    assert training_steps(made, STEPS) == steps


@pytest.mark.parametrize(("flag", "limit", "mend"), [("limit_train_batches", 0.25, 8), ("overfit_batches", 5, 8)])
def test_an_epoch_that_ends_in_a_step(flag: str, limit: float, mend: int, tmp_path: Path) -> None:
    made = trainer(tmp_path, accumulate_grad_batches=4, **{flag: limit})
    if flag == "limit_train_batches":
        check_whole_steps(made, STEPS + 2)  # 12 of 48
    message = rf"trainer.{flag} in whole steps of 4 micro-batches, found {limit}: {mend} would do"
    with pytest.raises(InputError, match=message):
        check_whole_steps(made, STEPS - 3)  # 7 of 28, or 5


def test_a_dev_run_keeps_no_checkpoint(tmp_path: Path) -> None:
    kept = [Timer(), ModelCheckpoint(tmp_path, save_last=True)]
    for quick in (False, 2):
        made = trainer(tmp_path, callbacks=list(kept), fast_dev_run=quick)
        prepare_dev_run(made)
        assert [callback for callback in made.callbacks if callback in kept] == (kept if not quick else kept[:1])


@pytest.mark.parametrize(
    ("settings", "limit"),
    [
        ({"fast_dev_run": True}, 3),
        ({"fast_dev_run": 5}, 5),
        ({"overfit_batches": 1}, 3),
        ({"overfit_batches": 0.5}, 20),
        ({"overfit_batches": 0.01}, 3),
        ({"limit_val_batches": 1}, 1),
        ({"limit_val_batches": 0.5}, 0.5),
        ({"limit_val_batches": 0}, 0),
    ],
)
def test_debugging_flags_validate_each_objective(settings: dict[str, Any], limit: float, tmp_path: Path) -> None:
    """What a user asks of validation itself stays."""
    made = trainer(tmp_path, **settings)
    for _ in range(2):
        validate_each_objective(made, 40, 3)
        assert made.limit_val_batches == limit
