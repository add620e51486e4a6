"""`last.ckpt` of a run's last step, whatever the interval at which checkpoints are saved."""

from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import ModelCheckpoint

from lm_objectives.callbacks.stop_cleanly import last_checkpoint


class FinalCheckpoint(L.Callback):
    """Saves `last.ckpt` after the last of `max_steps`, where a `ModelCheckpoint` keeps one at its intervals alone."""

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        del pl_module, outputs, batch, batch_idx
        if trainer.global_step != trainer.max_steps or trainer.fit_loop._should_accumulate():
            return
        if any(isinstance(kept, ModelCheckpoint) and kept.save_last for kept in trainer.checkpoint_callbacks):
            trainer.save_checkpoint(last_checkpoint(trainer))
