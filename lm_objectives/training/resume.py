"""Resume a run: finish what was pending when its checkpoint was saved, and correct Lightning's counts."""

from dataclasses import dataclass
from typing import Any

import lightning.pytorch as L
from lightning.fabric.utilities.apply_func import convert_tensors_to_scalars
from torch import Tensor

from lm_objectives.plugin import plain
from lm_objectives.training.loggers import RunCSVLogger


@dataclass(frozen=True)
class PendingWork:
    """What Lightning does between saving a checkpoint and the next micro-batch: it saves, then logs, then validates.

    Attributes:
        accumulate: micro-batches of an optimizer step.
        logged: rows that `metrics.csv` had.
        row: the numbers of the step, where they were not logged yet.
        validates: whether a validation pass was due.
        callback_metrics: `Trainer.callback_metrics`, where those of the last validation stay until the next.
    """

    accumulate: int
    logged: int
    row: dict[str, Any] | None
    validates: bool
    callback_metrics: dict[str, Tensor]


def find_pending(trainer: L.Trainer) -> PendingWork:
    """Find what a checkpoint that is saved now leaves undone."""
    loop: Any = trainer.fit_loop.epoch_loop
    counts, connector = loop.batch_progress.current, trainer._logger_connector
    logged = sum(logger.table.rows for logger in trainer.loggers if isinstance(logger, RunCSVLogger))
    row, validates = None, False
    if counts.processed > counts.completed:  # at the end of a micro-batch
        if connector.should_update_logs and not loop._should_accumulate():
            numbers = convert_tensors_to_scalars(connector.metrics["log"])
            row = {**numbers, "epoch": trainer.current_epoch, "step": loop._batches_that_stepped}
        validates = loop._should_check_val_fx(trainer.fit_loop._data_fetcher)
    return PendingWork(plain(trainer.accumulate_grad_batches), logged, row, validates, dict(trainer.callback_metrics))


def resume_trainer(trainer: L.Trainer, checkpoint: dict[str, Any], pending: PendingWork) -> None:
    """Align a checkpoint's loops, drop the rows of `metrics.csv` that come again, and write the one that was pending.

    Args:
        trainer: its loggers continue.
        checkpoint: its loops are changed in place.
        pending: what the checkpoint left undone.
    """
    accumulate = plain(trainer.accumulate_grad_batches)  # Lightning takes numpy's numbers, and would save them
    align_loops(checkpoint["loops"], pending.accumulate, accumulate, pending.validates)
    step = checkpoint["global_step"]
    for logger in trainer.loggers if trainer.is_global_zero else []:
        if isinstance(logger, RunCSVLogger):
            # A validation pass in the middle of an accumulated step is repeated, as the step is.
            logger.keep_rows(lambda number, row: number < pending.logged and int(row["step"]) < step)
            if pending.row is not None:
                logger.table.append(pending.row)


def align_loops(loops: dict[str, Any], saved: int, now: int, validates: bool) -> None:
    """Round Lightning's count of micro-batches down to whole optimizer steps, from which rows are read again.

    Needed where a checkpoint was saved between two micro-batches of a step, or a run resumes with another accumulation.
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
        ended = counts["processed"] - counts["completed"]  # 1 where it was saved at a batch's end: Lightning adds it
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
    if validates and not partial:  # Lightning takes this for the middle of the pass, which it restarts
        validation["total"] |= {"ready": 1, "started": 1}
