"""Log a run to a CSV file in its folder, and to Weights & Biases."""

import csv
import errno
import io
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from lm_objectives.errors import RunError
from lm_objectives.files import atomic_write
from lm_objectives.training.run_folder import WANDB_ID


@dataclass(frozen=True)
class Tracking:
    """Which loggers a run has, where `trainer.logger` is not set.

    Args:
        wandb: Weights & Biases: offline needs no account and no network, online sends as it goes, off leaves it out.
        project: project in Weights & Biases.
        name: the run's name there; by default the name of its folder.
        group: runs that belong together there, such as those of a study.
        job_type: what kind of run it is among them.
    """

    wandb: Literal["offline", "online", "off"] = "offline"
    project: str = "lm-objectives"
    name: str | None = None
    group: str | None = None
    job_type: str | None = None

    def loggers(self, root: str, resumes: bool) -> list[Logger]:
        """Make the loggers of a run in the folder `root`; one that `resumes` continues the same W&B run."""
        loggers: list[Logger] = [RunCSVLogger(root)]
        if self.wandb != "off":
            if self.wandb == "offline":
                os.environ.setdefault("WANDB_SILENT", "true")  # nothing that it prints is needed
            import wandb

            file = Path(root, WANDB_ID)
            logger = WandbLogger(
                save_dir=root,
                project=self.project,
                name=self.name or Path(root).resolve().name,
                offline=self.wandb == "offline",
                id=file.read_text(encoding="utf-8").strip() if resumes and file.is_file() else secrets.token_hex(4),
                resume="allow",
                group=self.group,
                job_type=self.job_type,
                settings=wandb.Settings(console="off"),
            )
            logger._wandb_init.pop("anonymous", None)  # Lightning passes it unset, and wandb warns of it
            loggers.append(logger)
        return loggers


class RunCSVLogger(Logger):
    """Writes `metrics.csv` into the run's folder itself; a resumed run appends to the rows that are there.

    Args:
        root: the run's folder.
    """

    name = version = save_dir = ""

    def __init__(self, root: str) -> None:
        super().__init__()
        self.table = MetricsTable(Path(root) / "metrics.csv")
        self.save_dir, self._started = root, False

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the command line writes `config.yaml` next to the table."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        first = step or 0
        if not self._started:
            self.keep_rows(lambda _, row: int(row["step"]) < first)
        self.table.append({**metrics, "step": first})

    def keep_rows(self, keeps: Callable[[int, dict[str, Any]], bool]) -> None:
        """Keep those rows of a previous process for which `keeps`, given a row's number and the row, is true."""
        self._started = True
        self.table.keep(keeps)


@rank_zero_only
def save_run_id(root: str, loggers: list[Logger]) -> None:
    """Save the run's id in W&B in its folder, so that a resumed run finds it."""
    for logger in loggers:
        if isinstance(logger, WandbLogger) and logger.version is not None:
            with atomic_write(Path(root) / WANDB_ID) as file:
                file.write(f"{logger.version}\n".encode())


Row = dict[str, Any]


class MetricsTable:
    """Rows of named numbers in a CSV file, columns in alphabetical order.

    A row is appended by one write; where it brings a new column, or rows are dropped, a new file is written and
    renamed. So a process that dies leaves a whole table, at worst with the start of a row at its end, which is not
    read again.

    Args:
        path: the file, made with the first row.

    Attributes:
        rows: how many this process has written or kept.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.rows = path, 0
        self._columns: list[str] = []

    def read(self) -> list[Row]:
        """The rows, each with the columns that it fills."""
        if not self.path.is_file():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            lines = [line for line in file if line.endswith("\n")]
        return [{key: value for key, value in row.items() if value} for row in csv.DictReader(lines)]

    def keep(self, keeps: Callable[[int, Row], bool]) -> None:
        """Drop the rows for which `keeps`, given a row's number and the row, is false."""
        if self.path.is_file():
            self._write([row for number, row in enumerate(self.read()) if keeps(number, row)])

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row.

        Raises:
            OSError: where there is no room for it; the table stays as it was.
            RunError: where the table is gone that rows were written to.
        """
        if self.rows and not self.path.is_file():
            raise RunError(f"expected {self.path}, found it gone: keep a run's folder in place while it trains")
        if not row.keys() <= set(self._columns) or not self.path.is_file():
            self._write([*self.read(), dict(row)])
            return
        line = _lines([row], self._columns)
        with self.path.open("ab", buffering=0) as file:
            whole = file.seek(0, os.SEEK_END)
            try:
                if file.write(line) < len(line):  # which a disk with some room left does
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                file.truncate(whole)
                error.filename = str(self.path)
                raise
        self.rows += 1

    def _write(self, rows: list[Row]) -> None:
        self._columns = sorted({key for row in rows for key in row})
        header: Row = {name: name for name in self._columns}
        with atomic_write(self.path) as file:
            file.write(_lines([header, *rows], self._columns))
        self.rows = len(rows)


def _lines(rows: list[Any], columns: list[str]) -> bytes:
    text = io.StringIO()
    csv.DictWriter(text, columns, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
