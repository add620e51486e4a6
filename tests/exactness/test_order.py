"""Which objective is named first decides nothing: weights, rows, state and results go by name, on a resume too."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from utils.exactness_runs import Run, State, same_bits, train

STOP = 7
CASES = [
    pytest.param(Run("GradNorm"), id="GradNorm"),
    pytest.param(Run("RandomWeights", optimizer="muon"), id="RandomWeights-muon"),
    pytest.param(Run("ByDifficultyGradNorm", steps=26), id="ByDifficulty"),
    pytest.param(Run("GradVac"), id="GradVac"),
    pytest.param(Run("PCGrad"), id="PCGrad", marks=pytest.mark.slow),
    pytest.param(Run("FAMO", backbone="dropout"), id="FAMO-dropout", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("run", CASES)
def test_objectives_in_another_order_end_in_the_same_bits(
    run: Run, folder: Path, alone: Callable[[Run], State], tmp_path: Path
) -> None:
    """Oracle: the run in one order. The other goes from the start, and from a checkpoint of the first."""
    state, turned = alone(run), replace(run, objectives="four turned")
    saved = train(run, folder, callbacks=[ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, every_n_train_steps=STOP)])
    assert not same_bits(saved, state)
    other = train(turned, folder)
    assert torch.equal(other.losses, state.losses) and torch.equal(other.weights, state.weights)
    assert not same_bits(other, state)
    resumed = train(turned, folder, resume=tmp_path / f"step={STOP}.ckpt")
    assert torch.equal(resumed.losses, state.losses[STOP:]) and torch.equal(resumed.weights, state.weights[STOP:])
    assert not same_bits(resumed, state)
