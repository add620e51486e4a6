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


def test_without_a_checkpoint_it_says_that_the_model_is_untrained(
    trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    validate = "validate", "--config", trained / "config.yaml"
    capfd.readouterr()
    assert run(*validate) == 0
    assert capfd.readouterr().err == "no --ckpt_path: what is scored is an untrained model\n"
    last = trained / "checkpoints" / "last.ckpt"
    assert run("export", "--ckpt_path", last, "--output", tmp_path / "hf", "--objective=causal") == 0
    capfd.readouterr()
    backbone = f"{{model_type: null, config: null, pretrained: {tmp_path / 'hf'}}}"
    assert run(*validate, "--model.backbone", backbone, "--model.objectives", "{causal: CausalLM}") == 0
    assert (
        f"no --ckpt_path: what is scored is the weights of {tmp_path / 'hf'}, as they are\n" in capfd.readouterr().err
    )


def test_the_last_checkpoint_of_the_run(trained: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Oracle: the same by its path."""
    tables = []
    for path in ("last", trained / "checkpoints" / "last.ckpt"):
        capfd.readouterr()
        assert run("validate", "--config", trained / "config.yaml", "--ckpt_path", path) == 0
        captured = capfd.readouterr()
        assert captured.err == ""
        tables.append(captured.out)
    assert tables[0] == tables[1]
