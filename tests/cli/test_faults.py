"""What the machine does to a run is one line that says which fault it is, with exit code 1."""

import errno
import os
import re
import resource
import signal
from multiprocessing import resource_sharer
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from torch.utils.data._utils import signal_handling
from utils.command_line import fit, table
from utils.exactness_kills import Training, settings

from lm_objectives.cli.faults import fault_message
from lm_objectives.data.sampler import end_workers
from lm_objectives.errors import RunError
from lm_objectives.training.checkpoint import read_checkpoint
from lm_objectives.training.loggers import MetricsTable


def raised(function: Any, *arguments: Any) -> BaseException:
    with pytest.raises(BaseException) as caught:
        function(*arguments)
    return caught.value


FAULTS = {
    "torch's memory": (lambda: raised(torch.empty, 2**52), r"expected enough memory, found too little \(.*allocate"),
    "numpy's memory": (lambda: raised(np.empty, 2**57), r"expected enough memory, found too little \(Unable to alloc"),
    "Python's memory": (lambda: raised(bytearray, 2**62), r"expected enough memory, found too little \(none left\)"),
    "a full disk": (lambda: OSError(errno.ENOSPC, "No space left", "m.csv"), "expected room for m.csv, found none"),
    "a quota": (lambda: OSError(errno.EDQUOT, "Quota exceeded", "m.csv"), "expected room for m.csv, found none left"),
    "no permission": (lambda: PermissionError(errno.EACCES, "denied", "m.csv"), "expected permission for m.csv, found"),
    "a disk that is only read": (lambda: OSError(errno.EROFS, "Read-only", "m.csv"), "expected permission for m.csv"),
    "a file that is gone": (
        lambda: FileNotFoundError(errno.ENOENT, "No such file", "/nowhere/m.csv"),
        "expected /nowhere/m.csv, found it gone",
    ),
    "a broken disk": (lambda: OSError(errno.EIO, "I/O error", "m.csv"), "expected m.csv to be read and written, found"),
    "a run's own": (lambda: RunError("expected a, found b: c"), "expected a, found b: c$"),
    "gloo": (
        lambda: RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [::1]:9"),
        "expected all ranks to train to the end, found that another has ended",
    ),
    "a port that is taken": (
        lambda: torch.distributed.DistNetworkError("The server socket has failed to listen: EADDRINUSE, port 29500"),
        "expected ranks that reach one another, found: The server socket has failed to listen: EADDRINUSE",
    ),
    "a device without memory": (
        lambda: RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronous"),
        r"expected enough memory, found too little \(CUDA error: out of memory",
    ),
    "a worker": (
        lambda: RuntimeError("DataLoader worker (pid(s) 71, 72) exited unexpectedly"),
        r"expected data workers to live, found that the one of process 71, 72 ended \(exited unexpectedly\)",
    ),
    "a worker's file": (
        lambda: FileNotFoundError(
            "Caught FileNotFoundError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
            "  File …\nFileNotFoundError: [Errno 2] No such file or directory: '/cache/tokens.bin'\n"
        ),
        r"expected files that data workers can read, found .*/cache/tokens.bin': put them back",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_named(name: str) -> None:
    made, told = FAULTS[name]
    message = fault_message(made())
    assert message is not None and "\n" not in message
    assert re.match(told, message), message


def die_when_asked(worker: int) -> None:
    """Let a data worker die once it is asked for the memory of a batch that it has announced."""
    del worker

    def serve(sharer: Any) -> None:
        sharer._listener.accept()
        os.kill(os.getpid(), signal.SIGKILL)

    resource_sharer._ResourceSharer._serve = serve  # type: ignore[attr-defined]


def test_a_worker_that_is_killed_while_it_hands_over_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connections are cut a moment before the system says that it has ended; here that moment lasts."""
    rows: Any = [torch.zeros(1)]
    loader = DataLoader(
        rows, num_workers=1, persistent_workers=True, worker_init_fn=die_when_asked, multiprocessing_context="fork"
    )
    with monkeypatch.context() as patch:
        patch.setattr(signal_handling, "_error_if_any_worker_fails", lambda: None)
        patch.setattr(BaseProcess, "is_alive", lambda process: True)
        error = raised(next, iter(loader))
        end_workers(loader)
    assert isinstance(error, (ConnectionError, EOFError))
    told = "expected data workers to live, found that one ended while it handed over rows: often the system has no mem"
    assert (fault_message(error) or "").startswith(told)


def with_fallback() -> None:
    try:
        open("/nowhere/cache")  # noqa: SIM115
    except FileNotFoundError:
        raise KeyError("of the way around") from None


DEFECTS = {
    "a value": lambda: ValueError("GPU out of memory"),
    "a server that left": lambda: EOFError(),
    "a reader that left": lambda: BrokenPipeError(errno.EPIPE, "pipe"),
    "any other": lambda: RuntimeError("x"),
    "a user's file": lambda: raised(lambda: Path("/nowhere").joinpath("notes.txt").read_text(encoding="utf-8")),
    "one in place of another": lambda: raised(with_fallback),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_keeps_its_traceback(name: str) -> None:
    assert fault_message(DEFECTS[name]()) is None


def test_a_row_that_does_not_fit_leaves_the_table_whole(tmp_path: Path) -> None:
    """A file that may not grow past a limit takes a part of a row, as a disk with some room left does."""
    metrics = MetricsTable(tmp_path / "metrics.csv")
    metrics.append({"step": 0, "loss": 1.5})
    before = metrics.path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 2, hard))
    try:
        with pytest.raises(OSError, match=r"metrics.csv"):
            metrics.append({"step": 1, "loss": 2.5})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert metrics.path.read_bytes() == before
    metrics.append({"step": 1, "loss": 2.5})
    assert [row["step"] for row in metrics.read()] == ["0", "1"]


def test_a_table_that_is_gone_is_not_begun_anew(tmp_path: Path) -> None:
    metrics = MetricsTable(tmp_path / "run" / "metrics.csv")
    metrics.append({"step": 0})
    (tmp_path / "run").rename(tmp_path / "away")
    with pytest.raises(RunError, match=r"expected .*metrics.csv, found it gone"):
        metrics.append({"step": 1})
    assert not (tmp_path / "run").exists()


def test_a_full_disk_ends_a_run_with_its_checkpoint_whole(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Oracle: the checkpoint that the run went on from, byte for byte; and whole rows."""
    unbounded = ["--model.lr_schedule", "{kind: constant, warmup: 0}"]
    assert fit(place, tmp_path, *unbounded) == 0
    last = tmp_path / "checkpoints" / "last.ckpt"
    before, size = last.read_bytes(), last.stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, hard))
    try:
        code = fit(place, tmp_path, *unbounded, "--trainer.max_steps", 6, "--ckpt_path", "last")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 1
    *_, line = capfd.readouterr().err.splitlines()
    assert line.startswith("lm-objectives: error: expected room for ") and "--ckpt_path last goes on" in line
    assert last.read_bytes() == before
    assert {row["step"] for row in table(tmp_path)} == {"0", "1", "2", "3", "4"}
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and not path.stat().st_size]
    assert fit(place, tmp_path, *unbounded, "--trainer.max_steps", 6, "--ckpt_path", "last") == 0
    assert read_checkpoint(str(last))[0]["global_step"] == 6


ENDLESS = ["--trainer.max_steps", "100000", "--model.lr_schedule", "{kind: constant, warmup: 0}"]


def test_a_worker_that_is_killed_ends_the_run(place: Path, tmp_path: Path) -> None:
    config = settings(place, "Fixed", num_workers=1)
    training = Training(tmp_path / "run", config)
    processes = training.start(*ENDLESS)
    training.wait_for(3, processes)
    children = Path(f"/proc/{processes[0].pid}/task/{processes[0].pid}/children")
    for child in children.read_text(encoding="utf-8").split():
        os.kill(int(child), signal.SIGKILL)
    assert training.end(processes) == [1]
    assert training.log().count("expected data workers to live") == 1 and "Traceback" not in training.log()
    read_checkpoint(str(training.last))


def test_a_folder_that_vanishes_ends_the_run(place: Path, tmp_path: Path) -> None:
    training = Training(tmp_path / "run", settings(place, "Fixed") | {"tracking": {"wandb": "off"}})
    processes = training.start(*ENDLESS)
    training.wait_for(3, processes)
    training.root.rename(training.root.with_name("away"))
    assert training.end(processes) == [1]
    assert "Traceback" not in training.log() and "found it " in training.log()
    assert not (training.root / "metrics.csv").exists()
