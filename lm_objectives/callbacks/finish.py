"""Save and validate at the end of a run, where the Trainer would not."""

import logging
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import ModelCheckpoint

from lm_objectives.callbacks.interrupt import last_checkpoint
from lm_objectives.training.experiment import settings_in_parts
from lm_objectives.training.resume import end_epoch

_log = logging.getLogger("lm_objectives")

_HIGHER = "a higher trainer.max_steps goes on from them"


class FinalCheckpoint(L.Callback):
    """Saves `last.ckpt` after the last of `max_steps`, where a `ModelCheckpoint` keeps one at its intervals alone."""

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step != trainer.max_steps or trainer.fit_loop._should_accumulate():
            return
        if any(isinstance(kept, ModelCheckpoint) and kept.save_last for kept in trainer.checkpoint_callbacks):
            trainer.save_checkpoint(last_checkpoint(trainer))


class FinalValidation(L.Callback):
    """Validates and ends the epoch where a run that is resumed at its last step had not; the Trainer just returns."""

    def on_fit_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        loop: Any = trainer.fit_loop
        if not loop.restarting:  # something was trained
            return
        parts = ", ".join(settings_in_parts(pl_module.experiment))
        further = f"--weights begins a new run, since {parts} goes by parts of them" if parts else _HIGHER
        _log.info("all %d steps are done: %s", trainer.global_step, further)
        trainer.strategy.model_to_device()  # the Trainer has moved it to the CPU
        validation, epoch = loop.epoch_loop.val_loop, loop.epoch_progress.current
        if validation.batch_progress.total.ready > validation.batch_progress.total.processed:
            trainer.validating = True
            validation.run()
            trainer.training = True
        if epoch.started > epoch.processed:
            end_epoch(trainer)
