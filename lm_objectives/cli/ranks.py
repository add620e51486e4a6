"""The processes of a run that train together: one that ends, however it does, ends the others."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from lightning.fabric.utilities.distributed import _set_num_threads_if_needed
from lightning.fabric.utilities.rank_zero import _get_rank
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from lightning.pytorch.trainer import Trainer

_GRACE = 10.0  # seconds in which a process may end by itself, with a checkpoint, before it is ended
_LOOK = 0.5  # seconds between two looks
_PARENT = "LM_OBJECTIVES_PARENT"  # variable in which a process tells those that it starts as its ranks its number


def is_first() -> bool:
    """Whether this process is the first of its run: the one that speaks."""
    return not _get_rank()


def outlives_first() -> bool:
    """Whether this process is the second, and the first, which started it, is gone."""
    return _get_rank() == 1 and _is_orphan()


def follow_parent() -> None:
    """End this process a while after the one that started it as one of its ranks; in any other it does nothing."""
    if _PARENT in os.environ and os.environ.get("LOCAL_RANK", "0") != "0":
        threading.Thread(target=_wait_for_parent, name="parent-watch", daemon=True).start()


def _is_orphan() -> bool:
    return os.environ.get(_PARENT, str(os.getppid())) != str(os.getppid())


def _wait_for_parent() -> None:
    while not _is_orphan():
        time.sleep(_LOOK)
    time.sleep(_GRACE)
    os._exit(1)


class RankLauncher(_SubprocessScriptLauncher):
    """Starts a process for each further rank as Lightning does, and watches them while the first one works.

    Lightning kills the first process without a word, up to 5 seconds after another has ended in any way but success,
    also while it saves its last checkpoint.
    """

    def launch(self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any) -> Any:
        self.cluster_environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        watch = None
        if not self.cluster_environment.creates_processes_externally:
            os.environ[_PARENT] = str(os.getpid())
            self._call_children_scripts()
            watch = _Watch(self.procs)
            watch.start()
        _set_num_threads_if_needed(num_processes=self.num_processes)
        try:
            return function(*args, **kwargs)
        except BaseException:
            self._end_others()
            raise
        finally:
            if watch is not None:
                watch.done.set()

    def _end_others(self) -> None:
        """Let the other ranks end by themselves, as where all stop at the same step, and end those that do not."""
        end = time.monotonic() + _GRACE
        for process in self.procs:
            try:
                process.wait(max(end - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                process.kill()


class _Watch(threading.Thread):
    """Ends this process when another rank has ended in any way but success, and this one does not by itself."""

    def __init__(self, processes: Sequence["subprocess.Popen[bytes]"]) -> None:
        super().__init__(name="rank-watch", daemon=True)
        self.processes, self.done = processes, threading.Event()

    def run(self) -> None:
        while not self.done.wait(_LOOK):
            for rank, process in enumerate(self.processes, start=1):
                if process.poll() and not self.done.wait(_GRACE):  # the first often hears of it when it next meets them
                    self._end(rank, process.returncode)

    def _end(self, rank: int, code: int) -> None:
        print(f"lm-objectives: error: {rank_ended(f'rank {rank} {_how(code)}')}", file=sys.stderr, flush=True)
        for process in self.processes:
            process.kill()
        os._exit(code if code > 128 else 1)


def _how(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def rank_ended(found: str) -> str:
    """What is said where a run ends because one of its processes has."""
    return f"expected all ranks to train to the end, found that {found}: see what it, or the system, says of it"


def watch_ranks(trainer: Trainer) -> None:
    """Let a trainer that starts further ranks by itself watch them."""
    launcher, strategy = trainer.strategy.launcher, trainer.strategy
    if type(launcher) is _SubprocessScriptLauncher:
        strategy._launcher = RankLauncher(launcher.cluster_environment, launcher.num_processes, launcher.num_nodes)
