"""Two processes that meet once through gloo and then carry out one run after another."""

import pickle
import socket
import time
import traceback
from collections.abc import Callable
from multiprocessing import get_context, set_start_method
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

_PATIENCE = 120.0  # seconds that one run may take


class Pair:
    """Both ranks of a DDP group, started at the first run and stopped by `close`.

    Args:
        folder: what `write_corpus` filled; where the token cache lies too.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._workers: list[tuple[Any, Connection]] = []

    def start(self, run: Any, resume: Path | None = None) -> Callable[[], tuple[Any, Any]]:
        """Begin a run on both ranks, or go on with one; the answer waits for their end states."""
        if not self._workers:
            self._open()
        for _, connection in self._workers:
            connection.send_bytes(pickle.dumps((run, resume)))
        return self._collect

    def run(self, run: Any, resume: Path | None = None) -> tuple[Any, Any]:
        """End states of a run on rank 0 and on rank 1."""
        return self.start(run, resume)()

    def close(self) -> None:
        """End both processes."""
        for _, connection in self._workers:
            connection.close()
        for process, _ in self._workers:
            process.join(5)
            if process.is_alive():
                process.kill()
        self._workers = []

    def _open(self) -> None:
        port, spawn = _free_port(), get_context("spawn")
        for rank in range(2):
            here, there = spawn.Pipe()
            process = spawn.Process(target=serve, args=(rank, port, self.folder, there))
            process.start()
            there.close()
            self._workers.append((process, here))

    def _collect(self) -> tuple[Any, Any]:
        end = time.monotonic() + _PATIENCE
        answers = []
        for rank, (_, connection) in enumerate(self._workers):
            if not connection.poll(max(end - time.monotonic(), 0)):
                self.close()
                raise TimeoutError(f"expected rank {rank} to end its run within {_PATIENCE:g} s, found it at work")
            answers.append(pickle.loads(connection.recv_bytes()))
        failures = [answer for answer in answers if isinstance(answer, str)]
        if failures:
            self.close()
            raise RuntimeError("\n".join(failures))
        return answers[0], answers[1]


def serve(rank: int, port: int, folder: Path, connection: Connection) -> None:
    """Carry out runs as rank `rank` until the other end is closed."""
    from utils.exactness_runs import meet, train

    set_start_method(None, force=True)  # of workers: as in a process that was started by hand
    meet(rank, port)
    while True:
        try:
            run, resume = pickle.loads(connection.recv_bytes())
        except EOFError:
            return
        try:
            answer: Any = train(run, folder, world=2, resume=resume)
        except Exception:
            answer = f"rank {rank}: {traceback.format_exc()}"
        connection.send_bytes(pickle.dumps(answer))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
