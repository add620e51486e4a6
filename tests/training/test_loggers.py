"""Where a run's numbers go."""

import csv
from pathlib import Path

from lightning.pytorch.loggers import WandbLogger

from lm_objectives.training.loggers import RunCSVLogger, Tracking, save_run_id


def rows(root: Path) -> list[tuple[int, str, float]]:
    """What a table holds: step, column and value of each cell."""
    with (root / "metrics.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    return [(int(row["step"]), key, float(row[key])) for row in table for key in row if key != "step" and row[key]]


def log(root: Path, *cells: tuple[int, str, float]) -> None:
    """One process's part of a run."""
    logger = RunCSVLogger(str(root))
    for step, key, value in cells:
        logger.log_metrics({key: value}, step)
    logger.finalize("success")


def test_a_table_lies_in_the_folder_itself(tmp_path: Path) -> None:
    cells = [(0, "a", 1.0), (0, "b", 2.0), (9, "b", 0.1 + 0.2)]
    log(tmp_path / "run", *cells)
    assert rows(tmp_path / "run") == cells
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["metrics.csv"]


def test_a_resumed_table_loses_no_row_and_doubles_none(tmp_path: Path) -> None:
    """Oracle: the table of the run that was not stopped; the stopped one got two rows past its checkpoint at step 3."""
    whole = [(step, "train", step / 7) for step in range(6)]
    whole.insert(3, (2, "val", 0.5))
    log(tmp_path / "whole", *whole)
    log(tmp_path / "stopped", *whole[:4], (3, "train", -1.0), (3, "val", -1.0), (4, "train", -1.0))
    log(tmp_path / "stopped", *whole[4:])
    assert rows(tmp_path / "stopped") == rows(tmp_path / "whole") == whole


def test_new_columns_join_the_old(tmp_path: Path) -> None:
    log(tmp_path, (0, "a", 1.0))
    log(tmp_path, (1, "b", 2.0), (2, "a", 3.0), (2, "c", 4.0))
    assert rows(tmp_path) == [(0, "a", 1.0), (1, "b", 2.0), (2, "a", 3.0), (2, "c", 4.0)]


def test_a_resumed_run_that_dies_before_it_logs_leaves_the_table(tmp_path: Path) -> None:
    log(tmp_path, (0, "a", 1.0), (1, "b", 2.0))
    log(tmp_path)
    _ = RunCSVLogger(str(tmp_path))
    assert rows(tmp_path) == [(0, "a", 1.0), (1, "b", 2.0)]


def wandb_logger(root: Path, resumes: bool, tracking: Tracking | None = None) -> WandbLogger:
    logger = (tracking or Tracking()).loggers(str(root), resumes)[1]
    assert isinstance(logger, WandbLogger)
    return logger


def test_a_resumed_run_goes_on_in_the_same_wandb_run(tmp_path: Path) -> None:
    first = wandb_logger(tmp_path, resumes=False)
    save_run_id(str(tmp_path), [first])
    again, another = wandb_logger(tmp_path, resumes=True), wandb_logger(tmp_path, resumes=False)
    assert again.version == first.version != another.version
    assert again._wandb_init["resume"] == "allow"


def test_wandb_is_offline_unless_asked(tmp_path: Path) -> None:
    assert wandb_logger(tmp_path, False)._offline
    online = wandb_logger(tmp_path, False, Tracking("online", project="mine", name="first"))
    assert not online._offline
    assert (online._wandb_init["project"], online._wandb_init["name"]) == ("mine", "first")
    assert wandb_logger(tmp_path / "run", False)._wandb_init["name"] == "run"


def test_wandb_can_be_left_out(tmp_path: Path) -> None:
    [only] = Tracking("off").loggers(str(tmp_path), resumes=False)
    assert isinstance(only, RunCSVLogger)
    save_run_id(str(tmp_path), [only])
    assert list(tmp_path.iterdir()) == []
