"""Settings of Lightning's Trainer by flag and in YAML."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from utils.command_line import complaint, fit, run, same_weights, table

LAST = Path("checkpoints", "last.ckpt")


def folder(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


STOP: dict[str, Any] = {"class_path": "EarlyStopping", "init_args": {"monitor": "val/masked/loss", "verbose": True}}


@pytest.mark.parametrize(
    ("settings", "validated"),
    [
        ({"callbacks": STOP}, "2"),
        ({"callbacks": {"class_path": "Timer", "init_args": {"duration": "00:00:10:00"}}}, "2"),
        ({"max_time": {"minutes": 10}}, "2"),
        ({"max_time": "00:00:10:00", "profiler": "simple"}, "2"),
        ({"val_check_interval": "00:00:00:00"}, "012"),
        ({"val_check_interval": {"hours": 1}}, ""),
        ({"val_check_interval": 0.5, "check_val_every_n_epoch": 1}, "2"),
        ({"log_every_n_steps": 0}, "2"),
    ],
)
def test_what_changes_nothing_learned_in_yaml(
    settings: dict[str, Any], validated: str, place: Path, trained: Path, tmp_path: Path
) -> None:
    """Oracle: the run without it. The run's own configuration can be read again."""
    (tmp_path / "over.yaml").write_text(yaml.safe_dump({"trainer": settings}), encoding="utf-8")
    root = tmp_path / "run"
    assert fit(place, root, "--config", tmp_path / "over.yaml") == 0
    assert same_weights(trained / LAST, root / LAST)
    assert "".join(row["step"] for row in table(root) if row.get("val/masked/loss")) == validated
    logged = "".join(row["step"] for row in table(root) if row.get("train/loss"))
    assert logged == ("" if "log_every_n_steps" in settings else "012")
    assert run("fit", "--config", root / "config.yaml", "--print_config") == 0


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_dev_run_leaves_the_folder_alone(accumulate: int, place: Path, trained: Path) -> None:
    before = folder(trained)
    callbacks = (
        "[{class_path: ModelCheckpoint, init_args: {save_last: true}}, lm_objectives.callbacks.GradientConflict]"
    )
    flags = ["--trainer.fast_dev_run", "true", "--trainer.accumulate_grad_batches", accumulate]
    assert fit(place, trained, *flags, "--trainer.callbacks", callbacks) == 0
    assert folder(trained) == before


def test_overfitting_by_flag(place: Path, tmp_path: Path) -> None:
    """Oracle: one batch each epoch, an epoch each step."""
    assert fit(place, tmp_path, "--trainer.overfit_batches", 1) == 0
    assert [row["epoch"] for row in table(tmp_path) if row["train/loss"]] == ["0", "1", "2"]


def test_barebones_logs_and_saves_nothing(place: Path, tmp_path: Path) -> None:
    assert fit(place, tmp_path, "--trainer.barebones", "true") == 0
    assert {path.name for path in tmp_path.iterdir()} == {"config.yaml", "owner.json"}


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--trainer.callbacks", "BatchSizeFinder"], "of your choice, since it is part of the experiment"),
        (["--trainer.callbacks", "LearningRateFinder"], "give it update_attr=False"),
        (["--trainer.log_every_n_steps", -1], "trainer.log_every_n_steps of at least 0, found -1: 0 logs nothing"),
        (["--trainer.val_check_interval", 0], "trainer.val_check_interval above 0, found 0: raise it"),
        (["--trainer.overfit_batches", 1, "--trainer.accumulate_grad_batches", 2], "found 1: 2 would do"),
    ],
)
def test_what_is_refused(
    flags: list[object], told: str, place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    assert fit(place, tmp_path / "run", *flags) == 2
    assert told in complaint(capfd)
    assert not (tmp_path / "run").exists()
