"""Where a run's numbers go: a CSV file beside the checkpoints, and Weights & Biases."""

import csv
import logging
import os
import secrets
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities import rank_zero_only

_log = logging.getLogger("lm_objectives")

_ID_FILE = "wandb_id.txt"
_FILES = ("config.yaml", "metrics.csv", "checkpoints", "curves.png", "gradient_conflict.png", _ID_FILE)


@dataclass(frozen=True)
class Tracking:
    """How a run is tracked, where `trainer.logger` is left alone.

    Args:
        wandb: Weights & Biases: offline needs no account and no network, online sends as it goes, off leaves it out.
        project: project in Weights & Biases.
        name: the run's name there; by default the name of its folder.
    """

    wandb: Literal["offline", "online", "off"] = "offline"
    project: str = "lm-objectives"
    name: str | None = None

    def loggers(self, root: str, resumes: bool) -> list[Logger]:
        """The loggers of a training in the folder `root`; one that `resumes` goes on in the same W&B run."""
        loggers: list[Logger] = [RunCSVLogger(root)]
        if self.wandb != "off":
            if self.wandb == "offline":
                os.environ.setdefault("WANDB_SILENT", "true")  # it has nothing to say that a run needs
            import wandb

            logger = WandbLogger(
                save_dir=root,
                project=self.project,
                name=self.name or Path(root).resolve().name,
                offline=self.wandb == "offline",
                id=_run_id(Path(root), resumes),
                resume="allow",
                settings=wandb.Settings(console="off"),
            )
            logger._wandb_init.pop("anonymous", None)  # Lightning hands it on unset, and wandb warns of it all the same
            loggers.append(logger)
        return loggers


class RunCSVLogger(CSVLogger):
    """Writes `metrics.csv` straight into a folder; a resumed run goes on below the rows that are there.

    Args:
        root: the run's folder.
    """

    def __init__(self, root: str) -> None:
        super().__init__(root, name="", version="")
        self._earlier: list[dict[str, Any]] = []

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        if self._experiment is None:
            path = Path(self.log_dir) / ExperimentWriter.NAME_METRICS_FILE
            if path.is_file():
                with path.open(newline="", encoding="utf-8") as file:
                    self._earlier = [
                        {key: value for key, value in row.items() if value} for row in csv.DictReader(file)
                    ]
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", ".*exists and is not empty.*")  # what is there is written again
                self._experiment = ExperimentWriter(log_dir=self.log_dir)
            self._write(self._earlier)  # the writer has deleted the file, and nothing may come to be logged
        return self._experiment  # type: ignore[return-value]

    def _write(self, rows: list[dict[str, Any]]) -> None:
        assert self._experiment is not None
        Path(self._experiment.metrics_file_path).unlink(missing_ok=True)
        self._experiment.metrics = list(rows)
        self._experiment.save()

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        _ = self.experiment  # reads what is there
        if self._earlier:
            # Rows from this step on were written after the checkpoint that the run goes on from.
            self._write([row for row in self._earlier if step is None or int(row["step"]) < step])
            self._earlier = []
        super().log_metrics(metrics, step)


def _run_id(root: Path, resumes: bool) -> str:
    """The run's identity in W&B, kept in its folder."""
    file = root / _ID_FILE
    if resumes and file.is_file():
        return file.read_text(encoding="utf-8").strip()
    return secrets.token_hex(4)


@rank_zero_only
def remember_run(root: str, loggers: list[Logger]) -> None:
    """Write down the run's identity, so that a resumed run finds it."""
    for logger in loggers:
        if isinstance(logger, WandbLogger) and logger.version is not None:
            (Path(root) / _ID_FILE).write_text(f"{logger.version}\n", encoding="utf-8")


def set_earlier_run_aside(root: Path) -> None:
    """Move what an earlier run left in the folder into `earlier/N`, so that runs are neither mixed nor lost."""
    left = [root / name for name in _FILES]
    if not (root / "metrics.csv").exists() and not (root / "checkpoints").exists():
        return
    number = 1
    while (root / "earlier" / str(number)).exists():
        number += 1
    aside = root / "earlier" / str(number)
    aside.mkdir(parents=True)
    for path in left:
        if path.exists():
            shutil.move(path, aside / path.name)
    _log.info("the earlier run in %s is now in %s", root, aside)
