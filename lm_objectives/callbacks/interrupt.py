"""Stop on Ctrl-C between two steps, with a checkpoint to resume from."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as L

from lm_objectives.callbacks.initial_weights import InitialWeights


class GracefulInterrupt(L.Callback):
    """The first Ctrl-C ends the step that is running, saves `checkpoints/last.ckpt` and prints how to resume.

    A second one stops at once.
    """

    def __init__(self) -> None:
        self._interrupted = self._stops = False
        self._handler: Any = None

    def on_train_start(self, *_: Any) -> None:
        self._interrupted = self._stops = False  # another fit begins
        self._handler = signal.signal(signal.SIGINT, self._interrupt)

    def _interrupt(self, *_: Any) -> None:
        self._interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.fit_loop._should_accumulate():
            return
        # Ranks get the signal at different steps, and must save at the same one.
        if not trainer.strategy.reduce_boolean_decision(self._interrupted, all=False):
            return
        self._stops = True
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        path = last_checkpoint(trainer)
        trainer.save_checkpoint(path)
        if trainer.is_global_zero:
            begun = any(isinstance(callback, InitialWeights) for callback in trainer.callbacks)  # type: ignore[attr-defined]
            place = " in place of --weights" if begun else ""
            print(
                f"\nstopped after step {trainer.global_step}; the same command with --ckpt_path last{place} goes on "
                f"from {os.path.relpath(path)}",
                file=sys.stderr,
            )

    def on_train_batch_start(self, *_: Any) -> None:
        if self._stops:  # and the loggers have the step's numbers, which they get after `on_train_batch_end`
            raise KeyboardInterrupt

    def on_validation_start(self, *_: Any) -> None:
        self.on_train_batch_start()

    def teardown(self, *_: Any, **__: Any) -> None:  # Lightning passes the stage by name
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)
            self._handler = None


def last_checkpoint(trainer: L.Trainer) -> Path:
    """Where a run that is stopped, or done, leaves the checkpoint that `--ckpt_path last` resumes from."""
    folder = getattr(trainer.checkpoint_callback, "dirpath", None)
    return Path(folder or Path(trainer.default_root_dir) / "checkpoints") / "last.ckpt"
