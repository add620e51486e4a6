"""`lm-objectives validate`: a table, and nothing in the run's folder."""

import re
from pathlib import Path

import pytest
import torch
from utils.command_line import complaint, run, table
from utils.small_corpus import TOKENS


def test_validate_prints_a_table_and_leaves_the_folder_alone(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    last = trained / "checkpoints" / "last.ckpt"
    assert run("validate", "--config", trained / "config.yaml", "--ckpt_path", last) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.split(r"\s{2,}", lines[0]) == ["objective", "metric", "model", "baseline"]
    loss = next(row["val/causal/loss"] for row in table(trained) if row["val/causal/loss"])
    assert re.split(r"\s{2,}", lines[2])[:3] == ["causal", "loss (nats)", f"{float(loss):.3f}"]
    assert f"uniform {torch.tensor(float(TOKENS)).log():.3f}" in lines[2]
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*")} == before


def test_validate_explains_as_well(place: Path, trained: Path, capfd: pytest.CaptureFixture[str]) -> None:
    last = trained / "checkpoints" / "last.ckpt"
    capfd.readouterr()
    narrow = ["--model.backbone.config.hidden_size", "16"]
    assert run("validate", "--config", trained / "config.yaml", "--ckpt_path", last, *narrow) == 2
    assert "expected a checkpoint of this model, found one of another" in complaint(capfd)
