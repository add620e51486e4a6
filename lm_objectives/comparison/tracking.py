"""A study in Weights & Biases: one run that sums it up, beside those of its trainings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.loggers import WandbLogger

from lm_objectives.comparison.records import RunRecord
from lm_objectives.training.loggers import Tracking, save_run_id

_COLUMNS = ("arm", "seed", "rung", "number", "value", "item_se", "failed")


def log_study(
    name: str,
    project: str,
    mode: Literal["offline", "online", "off"],
    records: Sequence[RunRecord],
    claims_rows: Sequence[Mapping[str, Any]],
    folder: Path,
) -> None:
    """Log a study's numbers and claims as tables of one run, in the group of its trainings.

    Logged again from the same folder, they are of the same run.

    Args:
        name: the study's; that of the group, and of the run.
        project: in Weights & Biases.
        mode: as `tracking.wandb` of the study's base.
        records: of the runs that are done.
        claims_rows: what became of each claim, as in `results.json`.
        folder: where the run is kept; `wandb_id.txt` in it says which it is.
    """
    tracking = Tracking(wandb=mode, project=project, name=name, group=name, job_type="summary")
    for logger in tracking.loggers(str(folder), resumes=True):
        if isinstance(logger, WandbLogger):
            save_run_id(str(folder), [logger])
            logger.log_table("study/numbers", [*_COLUMNS], [row for record in records for row in _rows(record)])
            if claims_rows:
                columns = list(claims_rows[0])
                logger.log_table("study/claims", columns, [[_cell(row[key]) for key in columns] for row in claims_rows])
            logger.experiment.finish()


def _rows(record: RunRecord) -> list[list[Any]]:
    """A row for each number; one without a number for a run that failed."""
    run = [record.arm, record.seed, record.rung]
    if record.failed is not None:
        return [[*run, None, None, None, record.failed]]
    return [[*run, number, value, record.item_se.get(number), None] for number, value in record.numbers.items()]


def _cell(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
