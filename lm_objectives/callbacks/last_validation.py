"""The validation pass that a run still owes when it is killed after its last step."""

from typing import Any

import lightning.pytorch as L


class LastValidation(L.Callback):
    """Validates where a run goes on from its last step and had not done so; the Trainer leaves without a look."""

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        del pl_module
        validation: Any = trainer.fit_loop.epoch_loop.val_loop
        counts = validation.batch_progress.total
        if trainer.fit_loop.restarting and counts.ready > counts.processed:  # nothing was trained
            trainer.validating = True
            validation.run()
            trainer.training = True
