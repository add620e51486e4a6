"""Save and validate at the end of a run, where the Trainer would not."""

import logging
import os
from typing import Any

import lightning.pytorch as L

from lm_objectives.callbacks.interrupt import how_to_go_on, last_checkpoint
from lm_objectives.training.experiment import settings_in_parts
from lm_objectives.training.resume import end_epoch

_log = logging.getLogger("lm_objectives")

_HIGHER = "a higher trainer.max_steps goes on from them"


class FinalCheckpoint(L.Callback):
    """Saves `last.ckpt` after the last of `max_steps`, before it is validated, unless checkpoints are turned off."""

    def setup(self, *_: Any, **__: Any) -> None:
        self._saved: int | None = None

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == trainer.max_steps and not trainer.fit_loop._should_accumulate():
            self.save(trainer)

    def save(self, trainer: L.Trainer) -> None:
        """Save this step, once."""
        if trainer.checkpoint_callbacks and self._saved != trainer.global_step:
            trainer.save_checkpoint(last_checkpoint(trainer))
            self._saved = trainer.global_step


class EarlyEndCheckpoint(L.Callback):
    """Saves `last.ckpt` of a run that an epoch, a time or an `EarlyStopping` ends.

    To be the first of a Trainer's callbacks: at the end of a training one of them may put other weights in place, such
    as `WeightAveraging`.

    Args:
        final: saves what `max_steps` ends.
    """

    def __init__(self, final: FinalCheckpoint) -> None:
        self.final = final

    def on_train_end(self, trainer: L.Trainer, *_: Any) -> None:
        self.final.save(trainer)


class FinalValidation(L.Callback):
    """Validates and ends the epoch where a run that is resumed at its last step had not; the Trainer just returns."""

    def on_fit_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        loop: Any = trainer.fit_loop
        if not loop.restarting:  # something was trained
            return
        trainer.strategy.model_to_device()  # the Trainer has moved it to the CPU
        validation, epoch = loop.epoch_loop.val_loop, loop.epoch_progress.current
        if validation.batch_progress.total.ready > validation.batch_progress.total.processed:
            trainer.validating = True
            validation.run()
            trainer.training = True
        if epoch.started > epoch.processed:
            end_epoch(trainer)


def how_it_ended(trainer: L.Trainer) -> str:
    """The line on where a training stands that its Trainer has ended, and how it goes on."""
    module: Any = trainer.lightning_module
    last = last_checkpoint(trainer)
    if not last.is_file():
        return f"{trainer.global_step} steps, no checkpoint"
    if not module._built:  # it was trained in processes of its own
        return f"its last checkpoint is {os.path.relpath(last)}"
    if 0 <= trainer.global_step < module.steps or module.steps < 0:
        return how_to_go_on(trainer, last)
    return f"all {trainer.global_step} steps are done: {what_next(module)}"


def what_next(module: Any) -> str:
    """How to train further once all steps are done."""
    parts = ", ".join(settings_in_parts(module.experiment))
    return f"--weights begins a new run, since {parts} goes by parts of them" if parts else _HIGHER
