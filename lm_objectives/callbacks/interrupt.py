"""Ctrl-C between two steps, with a checkpoint to go on from."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as L


class GracefulInterrupt(L.Callback):
    """The first Ctrl-C ends the step that is running, saves `checkpoints/last.ckpt` and says how to go on.

    A second one stops at once.
    """

    def __init__(self) -> None:
        self._asked = self._saved = False
        self._before: Any = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        del trainer, pl_module
        self._before = signal.signal(signal.SIGINT, self._ask)

    def _ask(self, *_: Any) -> None:
        self._asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        del pl_module, outputs, batch, batch_idx
        if trainer.fit_loop._should_accumulate():
            return
        asked = self._asked
        if trainer.world_size > 1:  # ranks hear the signal at different steps, and must save at one
            asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
        if not asked:
            return
        path = last_checkpoint(trainer)
        trainer.save_checkpoint(path)
        if trainer.is_global_zero:
            print(
                f"\nstopped after step {trainer.global_step}; the same command with --ckpt_path last goes on "
                f"from {os.path.relpath(path)}",
                file=sys.stderr,
            )
        self._saved = True

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        del trainer, pl_module
        self._leave()

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        del trainer, pl_module, batch, batch_idx
        self._leave()

    def _leave(self) -> None:
        if self._saved:  # and the loggers have the step's numbers, which they get after `on_train_batch_end`
            raise KeyboardInterrupt

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        del trainer, pl_module, stage
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None


def last_checkpoint(trainer: L.Trainer) -> Path:
    """Where `--ckpt_path last` looks."""
    folder = getattr(trainer.checkpoint_callback, "dirpath", None)
    return Path(folder or Path(trainer.default_root_dir) / "checkpoints") / "last.ckpt"
