"""Callbacks that could never act are told before the start, with the metric that was probably meant."""

import logging
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
from lightning.pytorch.callbacks import Callback, EarlyStopping, LearningRateMonitor, ModelCheckpoint
from utils.callback_runs import fit, new_module, new_trainer
from utils.command_line import fit as command

from lm_objectives import Pretraining, Vocabulary
from lm_objectives.callbacks.throughput import Throughput
from lm_objectives.cli.monitors import check_monitors
from lm_objectives.errors import InputError
from lm_objectives.training.end_step import logged_names


@pytest.fixture
def module() -> Pretraining:
    made = new_module()
    made.build(Vocabulary(size=99, pad=0, bos=1, eos=2, mask=3, special=(0, 1, 2, 3)), seq_len=16, steps=20)
    return made


class Recording(Callback):
    """The names that a training step hands to callbacks."""

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.names = {name for name in trainer.callback_metrics if name.startswith("train/")}


def test_the_names_of_a_step_are_those_that_are_logged(text: Path, tmp_path: Path) -> None:
    """Oracle: what a real step logs."""
    recording = Recording()
    _, trained = fit(text, tmp_path, [Throughput(), recording], max_steps=1)
    assert recording.names == logged_names(trained.names)


OFF = {"limit_val_batches": 0}
ON: dict[str, Any] = {"limit_val_batches": 1.0}
REFUSED = {
    "a slip": (EarlyStopping("val_loss"), ON, "found val_loss: did you mean val/"),
    "a slip in a name": (ModelCheckpoint(monitor="val/causal/los"), ON, "did you mean val/causal/loss"),
    "a slip in training": (ModelCheckpoint(monitor="train/causal/los"), ON, "did you mean train/causal/loss"),
    "an objective that there is none of": (EarlyStopping("val/foo/loss"), ON, "found val/foo/loss: did you mean"),
    "validation off": (ModelCheckpoint(monitor="val/causal/loss"), OFF, "expected a run that is validated"),
    "early stopping without validation": (
        EarlyStopping("train/loss", check_on_train_epoch_end=False),
        OFF,
        "expected a run that is",
    ),
    "nothing is logged": (ModelCheckpoint(monitor="train/loss"), ON | {"log_every_n_steps": 0}, "logged every 0"),
    "logged beyond the end": (ModelCheckpoint(monitor="train/loss"), ON | {"log_every_n_steps": 30}, "logged every 30"),
    "logged after it is looked at": (
        EarlyStopping("train/loss"),
        ON | {"log_every_n_steps": 9, "val_check_interval": 5, "check_val_every_n_epoch": None},
        "logged within 5 steps, found train/loss, logged every 9",
    ),
    "a batch of another objective": (
        EarlyStopping("val/masked/loss"),
        {"limit_val_batches": 1},
        "expected trainer.limit_val_batches of at least 2 for EarlyStopping to monitor val/masked/loss, found 1",
    ),
    "a rate without its monitor": (ModelCheckpoint(monitor="lr-AdamW"), ON, "found lr-AdamW"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_callback_that_could_never_act_is_refused(name: str, module: Pretraining, tmp_path: Path) -> None:
    callback, settings, told = REFUSED[name]
    with pytest.raises(InputError, match=told):
        check_monitors(module, new_trainer(tmp_path, [callback], **settings))


class Logs(Callback):
    """A callback of a user's own, which may log anything."""


@pytest.mark.parametrize(
    "callbacks",
    [
        [ModelCheckpoint(monitor="step", mode="max")],
        [ModelCheckpoint(monitor="lr-AdamW"), LearningRateMonitor()],
        [ModelCheckpoint(monitor="val/causal/loss"), EarlyStopping("val/masked/accuracy")],
        [ModelCheckpoint(monitor="my/own"), Logs()],
        [ModelCheckpoint(monitor="train/loss")],
    ],
)
def test_others_are_left_alone(callbacks: list[Callback], module: Pretraining, tmp_path: Path) -> None:
    check_monitors(module, new_trainer(tmp_path, callbacks, logger=True, **ON))


def test_what_acts_at_epochs_needs_no_validation(module: Pretraining, tmp_path: Path) -> None:
    """Lightning lets an `EarlyStopping` look at the end of each epoch where validation is by epochs."""
    check_monitors(module, new_trainer(tmp_path, [EarlyStopping("train/loss")], **OFF))


def test_a_dev_run_leaves_callbacks_alone(module: Pretraining, tmp_path: Path) -> None:
    check_monitors(module, new_trainer(tmp_path, [EarlyStopping("val_loss")], fast_dev_run=True))


def test_an_interval_beyond_the_end_is_told(
    module: Pretraining, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "lm_objectives"):
        check_monitors(module, new_trainer(tmp_path, [ModelCheckpoint(every_n_train_steps=21)], **ON))
    assert caplog.messages == ["every_n_train_steps 21 of a ModelCheckpoint is beyond the 20 steps of the run"]


def test_the_command_line_refuses_before_anything_is_written(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    callback = "[{class_path: EarlyStopping, init_args: {monitor: val_loss}}]"
    assert command(place, tmp_path / "run", "--trainer.callbacks", callback) == 2
    *_, line = capfd.readouterr().err.splitlines()
    assert "expected EarlyStopping to monitor a metric of an objective, found val_loss: did you mean" in line
    assert not (tmp_path / "run").exists()
