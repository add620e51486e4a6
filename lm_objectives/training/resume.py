"""A run that goes on from a checkpoint: what its process had still to do when it was saved."""

from dataclasses import asdict, dataclass
from typing import Any

import lightning.pytorch as L
from lightning.fabric.utilities.apply_func import convert_tensors_to_scalars
from torch import Tensor

from lm_objectives.training.loggers import RunCSVLogger


@dataclass(frozen=True)
class PendingWork:
    """What is between a checkpoint and the next micro-batch. Lightning saves first, then logs, then validates.

    Attributes:
        logged: rows that `metrics.csv` had.
        row: the numbers of the step, where they were not logged yet.
        validates: whether a validation pass was due.
        seen: the numbers that callbacks see; those of the last validation count until the next.
    """

    logged: int
    row: dict[str, Any] | None
    validates: bool
    seen: dict[str, Tensor]


def save_pending(trainer: L.Trainer) -> dict[str, Any]:
    """What a checkpoint that is saved now leaves undone, as plain data."""
    loop: Any = trainer.fit_loop.epoch_loop
    counts, connector = loop.batch_progress.current, trainer._logger_connector
    logged = sum(logger.table.rows for logger in trainer.loggers if isinstance(logger, RunCSVLogger))
    row, validates = None, False
    if counts.processed > counts.completed:  # at the end of a micro-batch
        if connector.should_update_logs and not loop._should_accumulate():
            numbers = convert_tensors_to_scalars(connector.metrics["log"])
            row = {**numbers, "epoch": trainer.current_epoch, "step": loop._batches_that_stepped}
        validates = loop._should_check_val_fx(trainer.fit_loop._data_fetcher)
    return asdict(PendingWork(logged, row, validates, dict(trainer.callback_metrics)))


def resume_logging(trainer: L.Trainer, unfinished: PendingWork, step: int) -> None:
    """Drop the rows of `metrics.csv` that are about to be written again, and write the one that was not.

    Args:
        trainer: whose loggers go on.
        unfinished: what the checkpoint left undone.
        step: optimizer steps before the checkpoint.
    """
    for logger in trainer.loggers if trainer.is_global_zero else []:
        if isinstance(logger, RunCSVLogger):
            # A pass in the middle of an accumulated step comes again, as the step does.
            logger.keep_rows(lambda number, row: number < unfinished.logged and int(row["step"]) < step)
            if unfinished.row is not None:
                logger.table.append(unfinished.row)


def align_loops(loops: dict[str, Any], saved: int, now: int, validates: bool) -> None:
    """Make Lightning's count of micro-batches one of whole optimizer steps, which is where rows start again.

    Needed where a checkpoint was saved between two micro-batches of a step, or a run goes on with another accumulation.
    An epoch at whose end it was saved is over: Lightning would end it once more, without the numbers of its validation.

    Args:
        loops: the state of Lightning's loops, changed in place.
        saved: micro-batches of a step when it was saved.
        now: micro-batches of a step from here on.
        validates: whether a validation pass was due, which Lightning would leave out.
    """
    epoch: dict[str, Any] = loops["fit_loop"]
    progress, validation = epoch["epoch_loop.batch_progress"], epoch["epoch_loop.val_loop.batch_progress"]
    partial = progress["current"]["processed"] % saved != 0
    for counts in (progress["current"], progress["total"]):
        steps = counts["processed"] // saved
        ended = counts["processed"] - counts["completed"]  # 1 where a batch's end saved it: Lightning adds it
        for name in ("ready", "started", "processed", "completed"):
            counts[name] = steps * now
        if not partial and not validates:
            counts["completed"] -= ended
    for counts in (validation["current"], validation["total"]):
        counts |= dict.fromkeys(counts, 0)
    ends = epoch["epoch_progress"]
    if ends["current"]["processed"] > ends["current"]["completed"]:
        for counts in (ends["current"], ends["total"]):
            counts["completed"] = counts["processed"]
        progress["current"] |= dict.fromkeys(progress["current"], 0)
        progress["is_last_batch"] = False
    if validates and not partial:  # to Lightning this is the middle of the pass, which it begins anew
        validation["total"] |= {"ready": 1, "started": 1}
