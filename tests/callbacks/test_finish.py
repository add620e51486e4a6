"""The last step's checkpoint."""

from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint
from utils.callback_runs import STEPS, different, fit, state

from lm_objectives.callbacks.finish import EarlyEndCheckpoint, FinalCheckpoint
from lm_objectives.callbacks.throughput import Throughput


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_last_step_is_kept_and_gone_on_from(accumulate: int, text: Path, tmp_path: Path) -> None:
    """Oracle: the weights of the run that was left alone, bit for bit."""
    settings = {"accumulate_grad_batches": accumulate}
    _, whole = fit(text, tmp_path / "whole", [Throughput()], **settings)
    kept = [ModelCheckpoint(every_n_train_steps=STEPS - 1, save_last=True), FinalCheckpoint(), Throughput()]
    fit(text, tmp_path, kept, max_steps=STEPS - 2, **settings)
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == STEPS - 2
    _, resumed = fit(text, tmp_path, [Throughput()], resume=last, **settings)
    assert different(state(resumed), state(whole)) == []


def test_nothing_is_saved_where_checkpoints_are_turned_off(text: Path, tmp_path: Path) -> None:
    fit(text, tmp_path, [FinalCheckpoint()])
    assert not list(tmp_path.rglob("*.ckpt"))


class StopAfter(Callback):
    """Asks the Trainer to stop, as an `EarlyStopping` or a `Timer` does."""

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        trainer.should_stop = trainer.should_stop or trainer.global_step == 3


ENDS: dict[str, tuple[list[Callback], dict[str, Any], int]] = {
    "epochs": ([], {"max_epochs": 1, "max_steps": -1, "limit_train_batches": 3}, 3),
    "asked": ([StopAfter()], {}, 3),
    "asked, with an average in the end": ([StopAfter(), EMAWeightAveraging()], {}, 3),
}


@pytest.mark.parametrize("end", ENDS)
def test_whatever_ends_a_run_leaves_its_last_step(end: str, text: Path, tmp_path: Path) -> None:
    """Oracle: the weights of the run that was left alone, bit for bit."""
    callbacks, settings, steps = ENDS[end]
    longer = settings | ({"max_epochs": 2} if end == "epochs" else {})
    averages = [type(callback)() for callback in callbacks if isinstance(callback, EMAWeightAveraging)]
    _, whole = fit(text, tmp_path / "whole", averages, **longer)
    keep, final = ModelCheckpoint(every_n_train_steps=100), FinalCheckpoint()
    fit(text, tmp_path, [EarlyEndCheckpoint(final), *callbacks, keep, final], **settings)
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == steps
    trainer, resumed = fit(text, tmp_path / "more", averages, resume=last, **longer)
    assert trainer.global_step == STEPS
    assert different(state(resumed), state(whole)) == []
