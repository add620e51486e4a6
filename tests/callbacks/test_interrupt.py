"""Ctrl-C between two steps."""

import signal
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from utils.callback_runs import STEPS, different, fit, interrupted, state

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


def test_a_second_one_stops_at_once(text: Path, tmp_path: Path) -> None:
    with interrupted():
        fit(text, tmp_path, [GracefulInterrupt(), PressCtrlC(1, times=2)])
    assert not (tmp_path / "checkpoints").exists()


def test_the_checkpoint_lies_where_last_is_looked_for(text: Path, tmp_path: Path) -> None:
    place = tmp_path / "elsewhere"
    keep = ModelCheckpoint(place, every_n_train_steps=100)
    with interrupted():
        fit(text, tmp_path, [GracefulInterrupt(), keep, PressCtrlC(1)])
    assert [path.name for path in place.iterdir()] == ["last.ckpt"]


def test_ctrl_c_means_afterwards_what_it_meant_before(text: Path, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    fit(text, tmp_path, [GracefulInterrupt()], max_steps=1)
    assert signal.getsignal(signal.SIGINT) is before
