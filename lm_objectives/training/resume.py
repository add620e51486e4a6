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
    module: Any = trainer.lightning_module
    validates = validates or module.validates_again
    return PendingWork(plain(trainer.accumulate_grad_batches), logged, row, validates, dict(trainer.callback_metrics))


def resume_trainer(trainer: L.Trainer, checkpoint: dict[str, Any], pending: PendingWork) -> bool:
    """Align a checkpoint's loops, drop the rows of `metrics.csv` that come again, and write the one that was pending.

    Args:
        trainer: its loggers continue.
        checkpoint: its loops are changed in place.
        pending: what the checkpoint left undone.

    Returns:
        Whether all of an epoch was trained on but the epoch was not ended, as `end_epoch` does once training starts.
    """
    accumulate = plain(trainer.accumulate_grad_batches)  # Lightning takes numpy's numbers, and would save them
    ends = align_loops(checkpoint["loops"], pending.accumulate, accumulate, pending.validates)
    step = checkpoint["global_step"]
    for logger in trainer.loggers if trainer.is_global_zero else []:
        if isinstance(logger, RunCSVLogger):
            # A validation pass in the middle of an accumulated step is repeated, as the step is.
            logger.keep_rows(lambda number, row: number < pending.logged and int(row["step"]) < step)
            if pending.row is not None:
                logger.table.append(pending.row)
    return ends


def end_epoch(trainer: L.Trainer) -> None:
    """End an epoch of which all was trained on, hooks and counts, before anything else is trained."""
    loop = trainer.fit_loop
    loop.epoch_loop._batches_that_stepped = trainer.global_step
    loop.on_advance_end()
    loop.reset_restart_stage()  # the next epoch is begun, not gone on with
    loop.epoch_loop.restarting = False


def align_loops(loops: dict[str, Any], saved: int, now: int, validates: bool) -> bool:
    """Round Lightning's count of micro-batches down to whole optimizer steps, from which rows are read again.

    Needed where a checkpoint was saved between two micro-batches of a step, or a run resumes with another accumulation.
    An epoch at whose end it was saved is over: Lightning would end it once more, without the numbers of its validation.

    Args:
        loops: the state of Lightning's loops, changed in place.
        saved: micro-batches of a step when it was saved.
        now: micro-batches of a step from here on.
        validates: whether a validation pass was due, which Lightning would leave out.

    Returns:
        Whether it was saved at the end of an epoch's last step, no validation pass being due: Lightning would count the
        next epoch's steps to this one, and end it once too often after a second resume.
    """
    epoch: dict[str, Any] = loops["fit_loop"]
    progress, validation = epoch["epoch_loop.batch_progress"], epoch["epoch_loop.val_loop.batch_progress"]
    partial = progress["current"]["processed"] % saved != 0
    at_end = progress["current"]["processed"] > progress["current"]["completed"]  # of a micro-batch: Lightning adds it
    ends_epoch = at_end and progress["is_last_batch"] and not partial and not validates
    for counts in (progress["current"], progress["total"]):
        steps = counts["processed"] // saved
        for name in ("ready", "started", "processed", "completed"):
            counts[name] = steps * now
        counts["completed"] -= at_end and not (partial or validates or ends_epoch)
    for counts in (validation["current"], validation["total"]):
        counts |= dict.fromkeys(counts, 0)
    ends = epoch["epoch_progress"]
    ended = ends["current"]["processed"] > ends["current"]["completed"]
    if ended:
        for counts in (ends["current"], ends["total"]):
            counts["completed"] = counts["processed"]
        for name in ("batch_progress", "scheduler_progress", "automatic_optimization.optim_progress"):
            _begin_anew(epoch[f"epoch_loop.{name}"])
        progress["is_last_batch"] = False
    if validates and not partial:  # Lightning takes this for the middle of the pass, which it restarts
        validation["total"] |= {"ready": 1, "started": 1}
    return ends_epoch


def _begin_anew(progress: dict[str, Any]) -> None:
    """Set the counts of an epoch to 0, and leave those of the whole training."""
    for name, counts in progress.items():
        if name == "current":
            counts |= dict.fromkeys(counts, 0)
        elif isinstance(counts, dict) and name != "total":
            _begin_anew(counts)
