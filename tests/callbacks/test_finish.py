"""The last step's checkpoint."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from utils.callback_runs import STEPS, different, fit, state

from lm_objectives.callbacks.finish import FinalCheckpoint
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


@pytest.mark.parametrize("callbacks", [[], [ModelCheckpoint(every_n_train_steps=100)]], ids=["none", "no last"])
def test_nothing_is_saved_where_nobody_asked_for_a_last_one(callbacks: list, text: Path, tmp_path: Path) -> None:
    fit(text, tmp_path, [FinalCheckpoint(), *callbacks])
    assert not list(tmp_path.rglob("*.ckpt"))
