"""Signals between two steps, and in the middle of a validation pass."""

import signal
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException
from utils.callback_runs import STEPS, different, fit, interrupted, state

from lm_objectives.callbacks import interrupt
from lm_objectives.callbacks.interrupt import GracefulInterrupt
from lm_objectives.callbacks.throughput import Throughput

pytestmark = pytest.mark.usefixtures("own_signals")


class PressCtrlC(Callback):
    """Sends SIGINT before the backward pass of a micro-batch."""

    def __init__(self, micro: int, times: int = 1) -> None:
        self.micro, self.times = micro, times

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.fit_loop.epoch_loop.total_batch_idx == self.micro:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(("accumulate", "micro", "step"), [(1, 2, 3), (2, 2, 2), (2, 3, 2)])
def test_the_step_is_finished_and_a_resume_ends_in_the_same_bits(
    accumulate: int, micro: int, step: int, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"accumulate_grad_batches": accumulate}
    _, whole = fit(text, tmp_path, [Throughput()], **settings)
    with interrupted():
        fit(text, tmp_path, [Throughput(), GracefulInterrupt(), PressCtrlC(micro)], **settings)
    assert f"stopped after step {step}; the same command with --ckpt_path last goes on" in capsys.readouterr().err
    last = tmp_path / "checkpoints" / "last.ckpt"
    trainer, resumed = fit(text, tmp_path, [Throughput(), GracefulInterrupt()], resume=last, **settings)
    assert trainer.global_step == STEPS
    assert different(state(resumed), state(whole)) == []
    assert resumed.tokens_read == whole.tokens_read


def test_it_serves_another_fit(text: Path, tmp_path: Path) -> None:
    graceful = GracefulInterrupt()
    with interrupted():
        fit(text, tmp_path, [graceful, PressCtrlC(1)])
    trainer, _ = fit(text, tmp_path, [graceful])
    assert trainer.global_step == STEPS


def test_a_second_one_stops_at_once(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A launcher may hand on the first once more: the second counts a second later, here at once."""
    monkeypatch.setattr(interrupt, "_TWICE", -1.0)
    with interrupted():
        fit(text, tmp_path, [GracefulInterrupt(), PressCtrlC(1, times=2)])
    assert not (tmp_path / "checkpoints").exists()


def test_one_that_comes_twice_at_once_is_one(text: Path, tmp_path: Path) -> None:
    with interrupted():
        fit(text, tmp_path, [GracefulInterrupt(), PressCtrlC(1, times=2)])
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file()


class Signal(Callback):
    """Sends a signal in the middle of a validation pass, once, and keeps the numbers of whole passes."""

    def __init__(self, signum: int | None = None, batch: int = 1) -> None:
        self.signum, self.batch = signum, batch
        self.passes: list[dict[str, float]] = []

    def on_validation_batch_end(self, trainer: L.Trainer, *arguments: Any) -> None:
        if self.signum is not None and arguments[3] == self.batch:
            signum, self.signum = self.signum, None
            signal.raise_signal(signum)

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.passes.append({name: float(n) for name, n in trainer.callback_metrics.items() if name.startswith("val/")})


@pytest.mark.parametrize(("batch", "signum"), [(1, signal.SIGTERM), (2, signal.SIGTERM)])
def test_a_validation_pass_that_is_cut_short_is_repeated(batch: int, signum: int, text: Path, tmp_path: Path) -> None:
    """Oracle: the passes and weights of the run that was left alone, bit for bit. A pass has three batches."""
    settings = {"limit_val_batches": 3, "val_check_interval": 2, "check_val_every_n_epoch": None}
    undisturbed, cut, after = Signal(), Signal(signum, batch), Signal()
    _, whole = fit(text, tmp_path / "whole", [undisturbed], **settings)
    with pytest.raises(SIGTERMException) as stopped:
        fit(text, tmp_path, [GracefulInterrupt(), cut], **settings)
    assert stopped.value.code == 128 + signum and cut.passes == []
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 2
    _, resumed = fit(text, tmp_path, [after], resume=last, **settings)
    assert after.passes == undisturbed.passes and len(after.passes) == STEPS // 2
    assert different(state(resumed), state(whole)) == []


def test_lightnings_own_handler_is_not_called(text: Path, tmp_path: Path) -> None:
    """Lightning's broadcasts in its handler; `received_sigterm` says whether it was called."""

    class Look(Callback):
        def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
            if trainer.global_step == 1:
                signal.raise_signal(signal.SIGTERM)
                assert not trainer.received_sigterm

    with pytest.raises(SIGTERMException):
        fit(text, tmp_path, [GracefulInterrupt(), Look()])


def test_the_checkpoint_lies_where_last_is_looked_for(text: Path, tmp_path: Path) -> None:
    place = tmp_path / "elsewhere"
    keep = ModelCheckpoint(place, every_n_train_steps=100)
    with interrupted():
        fit(text, tmp_path, [GracefulInterrupt(), keep, PressCtrlC(1)])
    assert [path.name for path in place.iterdir()] == ["last.ckpt"]


def test_ctrl_c_means_afterwards_what_it_meant_before(text: Path, tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    fit(text, tmp_path, [GracefulInterrupt()], max_steps=1)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
