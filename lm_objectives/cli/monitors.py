"""Find callbacks that could never act: their metric is never logged, or their interval is beyond the end."""

import logging
from difflib import get_close_matches
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint

from lm_objectives.data.plan import row_owner
from lm_objectives.errors import expect
from lm_objectives.training.end_step import logged_names
from lm_objectives.training.module import Pretraining

_log = logging.getLogger("lm_objectives")

_OWN = ("lm_objectives", "lightning")  # packages of whose callbacks all metrics are known


def check_monitors(module: Pretraining, trainer: L.Trainer) -> None:
    """Raise where a callback waits for a metric that is never logged, which else shows hours later or not at all.

    Args:
        module: the module that is trained, built.
        trainer: its trainer, of whose callbacks a metric of their own may come from one of the user's.

    Raises:
        InputError: which names the nearest metric.
    """
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        return  # which leaves these callbacks alone
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    foreign = any(type(callback).__module__.partition(".")[0] not in _OWN for callback in callbacks)
    for callback in callbacks:
        if isinstance(callback, ModelCheckpoint):
            _check_interval(callback, module.steps, trainer.max_epochs)
        if isinstance(callback, (ModelCheckpoint, EarlyStopping)) and callback.monitor is not None:
            _check_monitor(callback, callback.monitor, module, trainer, foreign)


def _check_monitor(
    callback: ModelCheckpoint | EarlyStopping, monitor: str, module: Pretraining, trainer: L.Trainer, foreign: bool
) -> None:
    stops, kind = isinstance(callback, EarlyStopping), type(callback).__name__
    held_out, trained = set(module.validation.names()), logged_names(module.names)
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    rates = any(isinstance(other, LearningRateMonitor) for other in callbacks)
    if (not stops and monitor in ("step", "epoch")) or (rates and monitor.startswith("lr-")):
        return
    at_validation = stops and not _acts_at_epochs(callback, trainer)
    if monitor in trained:
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        first = _first_validation(trainer) if at_validation else None
        last = min((steps for steps in (module.steps, first) if steps is not None and steps > 0), default=every)
        expected = f"{kind} to monitor a number that is logged within {last} steps"
        mend = "lower trainer.log_every_n_steps; 0 logs nothing"
        expect(0 < every <= last, expected, f"{monitor}, logged every {every}", mend)
    elif monitor not in held_out and not foreign:
        known = sorted(held_out | trained)
        near = get_close_matches(monitor, known, 1, 0.4) or known[:1]
        mend = f"did you mean {near[0]}? there are {', '.join(sorted(held_out))}, and those of train/"
        expect(False, f"{kind} to monitor a metric of an objective", monitor, mend)
    expected = f"a run that is validated for {kind} to monitor {monitor}"
    validated = bool(trainer.limit_val_batches) or not (at_validation or monitor in held_out)
    expect(validated, expected, "trainer.limit_val_batches 0", "raise it, or leave the callback out")
    if monitor in held_out:
        _check_limit(kind, monitor, module, trainer.limit_val_batches)


def _check_limit(kind: str, monitor: str, module: Pretraining, limit: int | float | None) -> None:
    """Raise where a pass ends before the first batch of the objective, of which each batch has one."""
    owners = [name for name in module.names if module.sources[name].shares_rows_with is None]
    needed = owners.index(row_owner(monitor.split("/")[1], module.sources)) + 1
    expected = f"trainer.limit_val_batches of at least {needed} for {kind} to monitor {monitor}"
    expect(not isinstance(limit, int) or limit >= needed, expected, limit, "a batch is of one objective, so raise it")


def _acts_at_epochs(callback: Any, trainer: L.Trainer) -> bool:
    """Whether an `EarlyStopping` looks at the end of an epoch, as Lightning decides it."""
    chosen: bool | None = callback._check_on_train_epoch_end
    every = getattr(trainer, "val_check_interval", None)
    return (every == 1.0 and trainer.check_val_every_n_epoch == 1) if chosen is None else chosen


def _first_validation(trainer: L.Trainer) -> int | None:
    """After how many steps held-out rows are scored first, where that is a number of micro-batches."""
    every: Any = getattr(trainer, "val_check_interval", None)
    return every // trainer.accumulate_grad_batches if isinstance(every, int) else None


def _check_interval(callback: ModelCheckpoint, steps: int, epochs: int | None) -> None:
    """Say where a `ModelCheckpoint` saves nothing along the way."""
    every = callback._every_n_train_steps
    if 0 < steps < every:
        _log.warning("every_n_train_steps %d of a ModelCheckpoint is beyond the %d steps of the run", every, steps)
    elif epochs is not None and 0 <= epochs < callback._every_n_epochs:
        _log.warning("every_n_epochs %d of a ModelCheckpoint is beyond max_epochs %d", callback._every_n_epochs, epochs)
