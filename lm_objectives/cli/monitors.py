"""Find callbacks that could never act: their metric is never logged, or their interval is beyond the end."""

import logging
from difflib import get_close_matches
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint

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
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    held_out, trained = set(module.validation.names()), logged_names(module.names)
    rates = any(isinstance(callback, LearningRateMonitor) for callback in callbacks)
    foreign = any(type(callback).__module__.partition(".")[0] not in _OWN for callback in callbacks)
    every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
    for callback in callbacks:
        kind, monitor = type(callback).__name__, getattr(callback, "monitor", None)
        if isinstance(callback, ModelCheckpoint):
            _check_interval(callback, module.steps, trainer.max_epochs)
            if monitor in ("step", "epoch"):
                continue
        if monitor is None or (rates and monitor.startswith("lr-")):
            continue
        if monitor in trained:
            logged = every > 0 and (module.steps < 0 or every <= module.steps)
            expected = f"{kind} to monitor a number that a run of {module.steps} steps logs"
            mend = "lower trainer.log_every_n_steps; 0 logs nothing"
            expect(logged, expected, f"{monitor}, logged every {every}", mend)
        elif monitor not in held_out and not foreign:
            known = sorted(held_out | trained)
            near = get_close_matches(monitor, known, 1, 0.4) or known[:1]
            mend = f"did you mean {near[0]}? there are {', '.join(sorted(held_out))}, and those of train/"
            expect(False, f"{kind} to monitor a metric of an objective", monitor, mend)
        at_validation = monitor in held_out or (
            isinstance(callback, EarlyStopping) and not callback._check_on_train_epoch_end
        )
        expected = f"a run that is validated for {kind} to monitor {monitor}"
        found, mend = "trainer.limit_val_batches 0", "raise it, or leave the callback out"
        expect(not at_validation or bool(trainer.limit_val_batches), expected, found, mend)


def _check_interval(callback: ModelCheckpoint, steps: int, epochs: int | None) -> None:
    """Say where a `ModelCheckpoint` saves nothing along the way."""
    every = callback._every_n_train_steps
    if 0 < steps < every:
        _log.warning("every_n_train_steps %d of a ModelCheckpoint is beyond the %d steps of the run", every, steps)
    elif epochs is not None and 0 <= epochs < callback._every_n_epochs:
        _log.warning("every_n_epochs %d of a ModelCheckpoint is beyond max_epochs %d", callback._every_n_epochs, epochs)
