"""Hold a run's folder for one process at a time, and move the files of a previous run in it aside."""

import json
import logging
import os
import shutil
import socket
import threading
import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lm_objectives.errors import InputError, RunError
from lm_objectives.files import atomic_write

_log = logging.getLogger("lm_objectives")

WANDB_ID = "wandb_id.txt"
_FILES = ("config.yaml", "metrics.csv", "checkpoints", "curves.png", "gradient_conflict.png", WANDB_ID)
_LOCK, _OWNER = ".lock", "owner.json"

_BEAT = 10.0  # seconds between two signs of life
_DEAD = 60.0  # seconds without one after which a process on another machine counts as ended
_PATIENCE = 20.0  # seconds that a killed process's data workers may take to notice, which hold its lock


def job_id() -> str | None:
    """The SLURM job that this process is part of, which keeps its number when it is requeued."""
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ.get('SLURM_ARRAY_TASK_ID', 0)}"
    return os.environ.get("SLURM_JOB_ID")


class RunFolder:
    """The folder of a run, which one process holds while it trains.

    A lock of the system (`flock`) keeps other processes of this machine out, and ends with the process. For others,
    on machines that share the disk, `owner.json` says who holds it, and its time of change is renewed every 10 seconds;
    a process of another machine counts as ended after 60 seconds without.

    Args:
        root: the folder.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._owner = self.root / _OWNER
        self._lock: FileLock | None = None
        self._content: dict[str, Any] = {}
        self._identity: tuple[int, int] | None = None
        self._ended = threading.Event()
        self._checked = 0.0

    def hold(self) -> None:
        """Hold the folder until `release`, or until this process ends.

        Raises:
            InputError: where another process that is alive holds it.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.root / _LOCK)
        owner = self._read_owner()
        try:
            lock.acquire(timeout=_PATIENCE if _has_died(owner) else 0)
        except Timeout:
            raise self._held(owner) from None
        except NotImplementedError:  # a disk without locks
            if owner and owner.get("host") == socket.gethostname() and _is_alive(owner.get("pid")):
                raise self._held(owner) from None
        if self._is_held_elsewhere(owner):
            lock.release()
            raise self._held(owner)
        self._lock = lock
        self._content = {"host": socket.gethostname(), "pid": os.getpid(), "job": job_id()}
        self._write_owner()
        self._ended.clear()
        threading.Thread(target=self._beat, name="run-folder", daemon=True).start()

    def check(self) -> None:
        """Raise where the folder is gone, or another run has taken it; looks at most once a second.

        Raises:
            RunError: then.
        """
        if self._identity is None or time.monotonic() - self._checked < 1:
            return
        self._checked = time.monotonic()
        if self._identify() != self._identity:
            self.release()
            raise RunError(
                f"expected the run's folder {self.root} to stay in place, found it removed or taken by another run: "
                "the run ends here, since nothing that it wrote would be found"
            )

    def mark_requeued(self) -> None:
        """Note that this run's job comes again, see `is_requeued`."""
        self._write_owner(requeued=True)

    def is_requeued(self) -> bool:
        """Whether this process is the same SLURM job as the last run in the folder, and was requeued."""
        owner, job = self._read_owner(), job_id()
        restarted = os.environ.get("SLURM_RESTART_COUNT", "0") != "0"
        return job is not None and owner.get("job") == job and (restarted or owner.get("requeued") is True)

    def release(self) -> None:
        """Let other runs have the folder; one in which nothing was written is removed."""
        if self._lock is None:
            return
        self._ended.set()
        with suppress(OSError):
            if self._identify() == self._identity is not None:  # nobody has taken it
                self._write_owner(ended=True)
                if {path.name for path in self.root.iterdir()} <= {_LOCK, _OWNER}:
                    self._owner.unlink()
                (self.root / _LOCK).unlink(missing_ok=True)
                self.root.rmdir()
        self._lock.release()
        self._lock = self._identity = None

    def _held(self, owner: dict[str, Any]) -> InputError:
        who = f"process {owner['pid']} on {owner['host']}" if "pid" in owner and "host" in owner else "another process"
        return InputError(
            f"expected a run folder that no other run is in, found {self.root} in use by {who}: choose another "
            "trainer.default_root_dir, or wait for that run, or stop it"
        )

    def _read_owner(self) -> dict[str, Any]:
        try:
            content = json.loads(self._owner.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def _write_owner(self, **marks: bool) -> None:
        self._content = {**self._content, **marks}
        with atomic_write(self._owner) as file:
            file.write(f"{json.dumps(self._content)}\n".encode())
        self._identity = self._identify()

    def _identify(self) -> tuple[int, int] | None:
        """Which file `owner.json` is: another one after it was replaced."""
        try:
            status = self._owner.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _is_held_elsewhere(self, owner: dict[str, Any]) -> bool:
        """Whether a process on another machine holds the folder: waits for a sign of life where the last is recent."""
        if not owner or owner.get("host") == socket.gethostname() or owner.get("ended"):
            return False
        last = self._owner.stat().st_mtime
        probe = self.root / _LOCK
        while True:
            probe.touch()  # so that the clock is the disk's
            if probe.stat().st_mtime - last >= _DEAD:
                return False
            time.sleep(1)
            if self._owner.stat().st_mtime != last:
                return True

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT):
            with suppress(OSError):  # a disk that does not answer for a while; `check` finds one that is gone
                os.utime(self._owner)


def _has_died(owner: dict[str, Any]) -> bool:
    return owner.get("host") == socket.gethostname() and not _is_alive(owner.get("pid"))


def _is_alive(pid: Any) -> bool:
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True


def archive_previous_run(root: Path) -> Path | None:
    """Move the files of a previous run in the folder into `previous/N`, so that runs are neither mixed nor lost.

    Returns:
        The folder that they are in now, if there was one.
    """
    if not (root / "metrics.csv").exists() and not (root / "checkpoints").exists():
        return None
    archive = next(path for n in count(1) if not (path := root / "previous" / str(n)).exists())
    archive.mkdir(parents=True)
    for name in _FILES:
        if (root / name).exists():
            shutil.move(root / name, archive / name)
    _log.info("the previous run in %s is now in %s", root, archive)
    return archive
