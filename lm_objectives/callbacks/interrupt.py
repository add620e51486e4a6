"""Stop on a signal between two steps, with a checkpoint to resume from."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch.utilities.exceptions import SIGTERMException

from lm_objectives.callbacks.initial_weights import InitialWeights
from lm_objectives.training.run_folder import RunFolder, job_id

_log = logging.getLogger("lm_objectives")

_FITS = count(1)  # of this process, on all ranks alike

_TWICE = 1.0  # seconds after which another Ctrl-C is meant: a launcher may hand on the first


class GracefulInterrupt(L.Callback):
    """Ctrl-C and SIGTERM end the step that is running, save `checkpoints/last.ckpt` and print how to resume.

    Any rank may get the signal; all end at the same step. A second Ctrl-C stops at once. Under SLURM the signal before
    a job's end (SIGUSR1, see Lightning's `SLURMEnvironment`) does the same and requeues the job. Lightning's own
    handlers are left out: one of them broadcasts, for which the other ranks may wait for ever.

    Args:
        folder: of the run, where a requeued job finds that it goes on.
    """

    def __init__(self, folder: RunFolder | None = None) -> None:
        self._folder = folder
        self._received = self._agreed = self._fit = 0
        self._first, self._trains = 0.0, False
        self._handlers: dict[int, Any] = {}

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        if stage == "fit":
            self._received, self._agreed, self._trains = 0, 0, False  # another fit begins
            self._fit = next(_FITS)
            connector: Any = trainer._signal_connector
            connector.register_signal_handlers = lambda: self._listen(trainer)
            self._listen(trainer)

    def _listen(self, trainer: L.Trainer) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for signum in (signal.SIGINT, signal.SIGTERM, _requeue_signal(trainer)):
            if signum is not None and signal.getsignal(signum) != self._interrupt:
                self._handlers.setdefault(signum, signal.signal(signum, self._interrupt))

    def _interrupt(self, signum: int, frame: Any) -> None:
        if not self._received:
            self._received, self._first = signum, time.monotonic()
        elif signum == signal.SIGINT and time.monotonic() - self._first > _TWICE:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt

    def on_train_start(self, *_: Any) -> None:
        self._trains = True

    def on_train_end(self, *_: Any) -> None:
        self._trains = False

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if not trainer.fit_loop._should_accumulate() and self._agree(trainer):
            self._save(trainer)

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        if self._agreed:  # and the loggers have the step's numbers, which they get after `on_train_batch_end`
            self._stop(trainer)

    def on_validation_start(self, trainer: L.Trainer, *_: Any) -> None:
        self.on_train_batch_start(trainer)

    def on_validation_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        if self._trains and self._was_noticed(trainer):
            raise StopIteration  # ends the pass, of which ranks have unequal parts, and they meet after it

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if self._trains and self._agree(trainer):
            pl_module.validates_again = True
            self._save(trainer)
            self._stop(trainer)

    def _agree(self, trainer: L.Trainer) -> int:
        """The signal that any rank has received; 0 for none."""
        self._agreed = self._received
        if trainer.world_size > 1:
            received = torch.tensor(self._received, device=trainer.strategy.root_device)
            self._agreed = int(trainer.strategy.reduce(received, reduce_op="max"))
        return self._agreed

    def _was_noticed(self, trainer: L.Trainer) -> bool:
        """Whether any rank has told the others of a signal, where they do not meet for a while."""
        if trainer.world_size == 1:
            return bool(self._received)
        store, key = torch.distributed.distributed_c10d._get_default_store(), f"lm_objectives/stop/{self._fit}"
        if self._received:
            store.set(key, str(self._received))
        return bool(self._received) or store.check([key])

    def _save(self, trainer: L.Trainer) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        trainer.save_checkpoint(last_checkpoint(trainer))

    def _stop(self, trainer: L.Trainer) -> None:
        """Leave the training as the signal asks: on all ranks alike."""
        signum, self._agreed = self._agreed, 0
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            print(f"\n{how_to_go_on(trainer, last_checkpoint(trainer))}", file=sys.stderr)
        if signum == signal.SIGINT:
            raise KeyboardInterrupt
        if signum == signal.SIGTERM:
            raise SIGTERMException(128 + signum)
        if trainer.is_global_zero:
            if self._folder is not None:
                self._folder.mark_requeued()
            _requeue()
        raise SystemExit(0)

    def teardown(self, trainer: L.Trainer, *_: Any, **__: Any) -> None:  # Lightning passes the stage by name
        vars(trainer._signal_connector).pop("register_signal_handlers", None)
        for signum in list(self._handlers):
            if signal.getsignal(signum) != signal.SIG_IGN:  # which Lightning sets while it ends a run after Ctrl-C
                signal.signal(signum, self._handlers.pop(signum))

    def on_exception(self, trainer: L.Trainer, *_: Any) -> None:
        self.teardown(trainer)


def _requeue_signal(trainer: L.Trainer) -> int | None:
    """The signal on which a SLURM job is requeued, if it is one and wants to be."""
    environment = trainer._accelerator_connector.cluster_environment
    if isinstance(environment, SLURMEnvironment) and environment.auto_requeue:
        return environment.requeue_signal
    return None


def _requeue() -> None:
    """Ask SLURM to start this job once more."""
    job = job_id()
    try:
        done = subprocess.run(["scontrol", "requeue", str(job)], capture_output=True, text=True, timeout=60)
        fault = done.stderr.strip() if done.returncode else None
    except (OSError, subprocess.TimeoutExpired) as error:
        fault = str(error)
    if fault is None:
        _log.info("job %s is requeued, and goes on from there", job)
    else:
        _log.warning("job %s could not be requeued (scontrol: %s): start it again by hand", job, fault)


def how_to_go_on(trainer: L.Trainer, path: Path) -> str:
    """The line that says where a training stands that has stopped, and which command goes on with it."""
    begun = any(isinstance(callback, InitialWeights) for callback in trainer.callbacks)  # type: ignore[attr-defined]
    place = " in place of --weights" if begun else ""
    return (
        f"stopped after step {trainer.global_step}; the same command with --ckpt_path last{place} goes on from "
        f"{os.path.relpath(path)}"
    )


def last_checkpoint(trainer: L.Trainer) -> Path:
    """Where a run that is stopped, or done, leaves the checkpoint that `--ckpt_path last` resumes from."""
    folder = getattr(trainer.checkpoint_callback, "dirpath", None)
    return Path(folder or Path(trainer.default_root_dir) / "checkpoints") / "last.ckpt"
