"""Hold a run's folder for one process at a time, and move the files of a previous run in it aside."""

import fcntl
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
from secrets import token_hex
from typing import Any

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
    on machines that share the disk, and on disks without locks, `owner.json` says who holds it, and its time of change
    is renewed every 10 seconds; a process of another machine counts as ended after 60 seconds without.

    Args:
        root: the folder.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._owner = self.root / _OWNER
        self._content: dict[str, Any] = {}  # of owner.json, while it is held
        self._lock: int | None = None
        self._ended: threading.Event | None = None
        self._checked = 0.0

    def __getstate__(self) -> dict[str, Any]:
        """A copy in another process holds nothing, such as one of a rank that is spawned."""
        return vars(RunFolder(self.root))

    def hold(self) -> None:
        """Hold the folder until `release`, or until this process ends.

        Raises:
            InputError: where another process that is alive holds it.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        locked = self._acquire()
        owner = self._read_owner()
        here = owner.get("host") == socket.gethostname()
        if not locked or (not here and self._shows_life(owner)):
            self._unlock()
            raise self._held(owner)
        self._content = {"host": socket.gethostname(), "pid": os.getpid(), "job": job_id(), "token": token_hex(8)}
        self._write_owner()
        self._ended = threading.Event()
        threading.Thread(target=self._beat, args=(self._ended,), name="run-folder", daemon=True).start()

    def check(self) -> None:
        """Raise where the folder is gone, or another run has taken it; looks at most once a second.

        Raises:
            RunError: then.
        """
        if self._ended is None or time.monotonic() - self._checked < 1:
            return
        self._checked = time.monotonic()
        if not self._is_ours():
            self.release()
            raise RunError(
                f"expected the run's folder {self.root} to stay in place, found it removed or taken by another run: "
                "the run ends here, since nothing that it wrote would be found"
            )

    def mark_requeued(self) -> None:
        """Note that this run's job comes again, see `is_requeued`."""
        if self._ended is not None:
            self._write_owner(requeued=True)

    def is_requeued(self) -> bool:
        """Whether this process is the same SLURM job as the last run in the folder, and was requeued."""
        owner, job = self._read_owner(), job_id()
        restarted = os.environ.get("SLURM_RESTART_COUNT", "0") != "0"
        return job is not None and owner.get("job") == job and (restarted or owner.get("requeued") is True)

    def release(self) -> None:
        """Let other runs have the folder; one in which nothing was written is removed."""
        if self._ended is None:
            return
        self._ended.set()
        with suppress(OSError):
            if self._is_ours():
                self._write_owner(ended=True)
                (self.root / _LOCK).unlink(missing_ok=True)
                if {path.name for path in self.root.iterdir()} == {_OWNER}:
                    self._owner.unlink()
                    self.root.rmdir()
        self._unlock()
        self._ended, self._content = None, {}

    def _held(self, owner: dict[str, Any]) -> InputError:
        who = f"process {owner['pid']} on {owner['host']}" if "pid" in owner and "host" in owner else "another process"
        return InputError(
            f"expected a run folder that no other run is in, found {self.root} in use by {who}: choose another "
            "trainer.default_root_dir, or wait for that run, or stop it"
        )

    def _acquire(self) -> bool:
        """Take the lock; waits a while for that of a process that has died, which its data workers may still hold."""
        end = time.monotonic() + _PATIENCE
        while True:
            lock = os.open(self.root / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                if not _has_died(self._read_owner()) or time.monotonic() > end:
                    return False
                time.sleep(0.2)
                continue
            except OSError:  # a disk without locks
                os.close(lock)
                owner = self._read_owner()
                return not (owner.get("host") == socket.gethostname() and _is_alive(owner.get("pid")))
            with suppress(OSError):
                if os.path.samestat(os.fstat(lock), os.stat(self.root / _LOCK)):
                    self._lock = lock
                    return True
            os.close(lock)  # of a file that its last owner has removed

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
        self._lock = None

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

    def _is_ours(self) -> bool:
        """Whether `owner.json` is what this process wrote; so it seems while the disk does not answer."""
        try:
            return json.loads(self._owner.read_text(encoding="utf-8")).get("token") == self._content["token"]
        except FileNotFoundError:
            return False
        except (OSError, ValueError):
            return True

    def _shows_life(self, owner: dict[str, Any]) -> bool:
        """Whether a process on another machine renews its note: waits for it where the last time is recent."""
        if not owner or owner.get("ended"):
            return False
        _log.info("looking whether process %s on %s still trains in %s", owner.get("pid"), owner.get("host"), self.root)
        probe = self.root / _LOCK
        try:
            last = self._owner.stat().st_mtime
            while True:
                probe.touch()  # so that the clock is the disk's
                if probe.stat().st_mtime - last >= _DEAD:
                    return False
                time.sleep(1)
                if self._owner.stat().st_mtime != last:
                    return True
        except FileNotFoundError:  # it has ended meanwhile
            return False

    def _beat(self, ended: threading.Event) -> None:
        while not ended.wait(_BEAT):
            with suppress(OSError):  # a disk that does not answer for a while; `check` finds a folder that is gone
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
