"""What a run still owes when it is killed after its last step: a validation pass, the end of its epoch."""

import logging
from typing import Any

import lightning.pytorch as L

_log = logging.getLogger("lm_objectives")


class FinalValidation(L.Callback):
    """Validates and ends the epoch where a run goes on from its last step and had not; the Trainer just leaves."""

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        del pl_module
        loop: Any = trainer.fit_loop
        if not loop.restarting:  # something was trained
            return
        _log.info("all %d steps are done: a higher trainer.max_steps goes on from them", trainer.global_step)
        trainer.strategy.model_to_device()  # it was taken off
        validation, epoch = loop.epoch_loop.val_loop, loop.epoch_progress.current
        if validation.batch_progress.total.ready > validation.batch_progress.total.processed:
            trainer.validating = True
            validation.run()
            trainer.training = True
        if epoch.started > epoch.processed:
            loop.on_advance_end()
