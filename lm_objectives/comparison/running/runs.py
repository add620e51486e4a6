"""The runs of a study: one `fit` each in a folder of its own, begun once, resumed after whatever ended it."""

import errno
import fcntl
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

import yaml

from lm_objectives.comparison.running.study_run import LOCK, LOG, SETTINGS, SPENT, StudyRun
from lm_objectives.errors import InputError, RunError
from lm_objectives.files import atomic_write

_LOOK = 1.0  # seconds between two looks at a run that another process makes
_ENDING = 0.1  # seconds between two looks at a training that is ending
_OF_MACHINE = "lm-objectives: error: "  # what a training says in one line; other ends are of its own code
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_WARNINGS = {signal.SIGUSR1, signal.SIGUSR2}


class RunQueue:
    """Makes runs one after another, or several at a time.

    Args:
        threads: CPU threads of each run.
        devices: CUDA devices that runs are dealt to where several are made at a time; none without CUDA.
        say: shows a line.
    """

    def __init__(self, threads: int, devices: Sequence[str], say: Callable[[str], None]) -> None:
        self._threads, self._devices, self._say = threads, list(devices), say
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._stopping = threading.Event()
        self._left = self._done = 0
        self._first = math.inf

    def make(self, runs: Sequence[StudyRun], jobs: int) -> None:
        """Make all runs that are not done; those that another process makes are waited for.

        Args:
            runs: in their order.
            jobs: at a time.

        Raises:
            InputError: where a run's settings are refused.
            RunError: where something ended a run from outside: the same command goes on with it.
        """
        left = unfinished(runs)
        self._left = len(left)
        if len(left) < len(runs):
            self._say(f"{len(runs) - len(left)} of {len(runs)} runs are done")
        workers = iter(range(jobs))
        slot = threading.local()

        def begin() -> None:
            slot.number = next(workers)
            signal.pthread_sigmask(signal.SIG_BLOCK, _WARNINGS)  # in the trainings too, which inherit it

        with ThreadPoolExecutor(jobs, initializer=begin) as pool, self._ended_with_us():
            futures = [pool.submit(self._make_one, run, f"[{at + 1}/{len(left)}]", slot) for at, run in enumerate(left)]
            try:
                for future in as_completed(futures):
                    future.result()
            except BaseException:
                self._stopping.set()
                for future in futures:
                    future.cancel()
                raise

    def stop(self, patience: float) -> None:
        """Let running trainings save a checkpoint and end, begin no other, and return when they have ended.

        A signal's handler may call it while `make` waits.

        Args:
            patience: seconds after which a training that has not ended is killed; its last checkpoint stays.
        """
        self._stopping.set()
        self._send(signal.SIGINT)
        end = time.monotonic() + patience
        while self._processes and time.monotonic() < end:
            time.sleep(_ENDING)
        self._send(signal.SIGKILL)
        while self._processes:
            time.sleep(_ENDING)

    def _send(self, signum: int) -> None:
        for process in [*self._processes]:
            if process.poll() is None:
                process.send_signal(signum)

    @contextmanager
    def _ended_with_us(self) -> Iterator[None]:
        """Let running trainings save a checkpoint and end where this process is asked to end."""
        try:
            yield
        except BaseException:
            self._stopping.set()
            self._send(signal.SIGTERM)
            raise

    def _make_one(self, run: StudyRun, place: str, slot: threading.local) -> None:
        run.path.mkdir(parents=True, exist_ok=True)
        waits = False
        while not self._stopping.is_set() and not run.is_done():
            with _lock(run.path / LOCK) as lock:
                if lock is not None and not run.is_done():
                    device = self._devices[slot.number % len(self._devices)] if self._devices else None
                    self._train(run, place, device, lock)
            if lock is None:
                if not waits:
                    self._say(f"{place} {run.folder}: another process makes it")
                    waits = True
                time.sleep(_LOOK)

    def _train(self, run: StudyRun, place: str, device: str | None, lock: int) -> None:
        with atomic_write(run.path / SETTINGS) as file:
            file.write(yaml.safe_dump(run.settings, sort_keys=False, allow_unicode=True).encode())
        goes_on = (run.path / "checkpoints" / "last.ckpt").is_file()
        self._say(f"{place} {run.folder}: {'goes on' if goes_on else 'begins'}")
        begun = time.monotonic()
        code, said = self._run_process(fit_command(run), self._environment(device), run.path / LOG, lock)
        _add_seconds(run.path / SPENT, time.monotonic() - begun)
        if self._stopping.is_set():
            return
        if code < 0 or code > 128:
            number = -code if code < 0 else code - 128
            name = signal.Signals(number).name if number in {*signal.Signals} else number
            raise RunError(
                f"expected {run.path} to train to its end, found it ended by {name}: give the same command to go on"
            )
        if code == 2:
            raise InputError(f"{run.folder}: {said.removeprefix(_OF_MACHINE)}")
        if code == 1 and said.startswith(_OF_MACHINE):
            raise RunError(f"{run.folder}: {said.removeprefix(_OF_MACHINE)}")
        if code or not run.finish():
            reason = said.removeprefix(_OF_MACHINE)
            run.fail(reason, code)
            self._say(f"{place} {run.folder}: failed: {reason}")
            return
        self._say(f"{place} {run.folder}: done in {time.monotonic() - begun:.0f} s{self._time_left(begun)}")

    def _time_left(self, begun: float) -> str:
        """How long the rest takes if it goes on as since the first run began."""
        self._first = min(self._first, begun)
        self._left, self._done = self._left - 1, self._done + 1
        seconds = (time.monotonic() - self._first) / self._done * self._left
        return f"; about {max(seconds / 60, 1):.0f} minutes left" if self._left else ""

    def _environment(self, device: str | None) -> dict[str, str]:
        # A scheduler's variables are of the whole job: by them a training would be a rank of it, and requeue it.
        own = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
        made = {**own, "OMP_NUM_THREADS": str(self._threads)}
        return made if device is None else {**made, "CUDA_VISIBLE_DEVICES": device}

    def _run_process(
        self, command: Sequence[str], environment: Mapping[str, str], log: Path, lock: int
    ) -> tuple[int, str]:
        """Run a training to its end; it holds the lock too, so that it stays locked where this process is killed."""
        with log.open("ab") as file:
            start = file.tell()
            process = subprocess.Popen(
                command, stdout=file, stderr=file, stdin=subprocess.DEVNULL, env=dict(environment), pass_fds=[lock]
            )
            self._processes.add(process)
            try:
                if self._stopping.is_set():  # since this one was asked for: `stop` may not have seen it
                    process.kill()
                code = process.wait()
            finally:
                self._processes.discard(process)
        with log.open("rb") as file:
            file.seek(start)
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
        return code, lines[-1] if lines else f"exit code {code}"


@contextmanager
def _lock(file: Path) -> Iterator[int | None]:
    """A file that this process has locked; `None` where another one has."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        except OSError as error:  # a disk without locks, on which the run's own folder keeps others out
            if error.errno not in _NO_LOCKS:
                raise
        yield descriptor
    finally:
        os.close(descriptor)


def unfinished(runs: Iterable[StudyRun]) -> list[StudyRun]:
    """The runs that are not done, once none is found in whose folder there is another.

    Raises:
        InputError: as `StudyRun.check_settings` does.
    """
    runs = list(runs)
    for run in runs:
        run.check_settings()
    return [run for run in runs if not run.is_done()]


def say(line: str) -> None:
    """Show a line of progress."""
    print(line, file=sys.stderr, flush=True)


def fit_command(run: StudyRun) -> list[str]:
    """The command that makes a run, or goes on with it."""
    command = [sys.executable, "-m", "lm_objectives", "fit", "--config", str(run.path / SETTINGS)]
    return [*command, "--ckpt_path", "last"] if (run.path / "checkpoints" / "last.ckpt").is_file() else command


def _add_seconds(file: Path, seconds: float) -> None:
    before = float(file.read_text(encoding="utf-8")) if file.is_file() else 0.0
    with atomic_write(file) as content:
        content.write(f"{before + seconds:.1f}\n".encode())
