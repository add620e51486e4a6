"""Runs of a study on a small corpus, and a process that makes them, which can be killed at any moment."""

import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from lm_objectives.comparison.running.study_run import StudyRun
from utils.command_line import environment, same_weights, table

PATIENCE = 240.0  # seconds that one training may take on a busy machine

_QUEUE = """
import pickle, sys
from lm_objectives.comparison.running.runs import RunQueue
runs, jobs = pickle.load(open(sys.argv[1], "rb"))
RunQueue(1, [], lambda line: print(line, flush=True)).make(runs, jobs)
"""


def study_run(place: Path, root: Path, seed: int = 0, steps: int = 3, **model: Any) -> StudyRun:
    """A run of the folder's `tiny.yaml`, evaluated on its held-out documents; it saves every fourth step."""
    settings, folder = yaml.safe_load((place / "tiny.yaml").read_text(encoding="utf-8")), f"runs/tiny/{seed}"
    keep = {"every_n_train_steps": 4, "save_top_k": 0, "save_last": True, "enable_version_counter": False}
    callback = {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": keep}
    settings["trainer"] |= {"default_root_dir": str(root / folder), "enable_progress_bar": False}
    settings["trainer"] |= {"callbacks": [callback], "max_steps": steps, "val_check_interval": steps}
    settings["data"] |= {"seed": seed, "split_seed": 0}
    settings["model"] |= model
    settings |= {"seed_everything": seed, "evaluation": {"tasks": ["held_out"]}}
    return StudyRun("tiny", seed, 0, root, folder, settings)


def start_queue(runs: Sequence[StudyRun], jobs: int, place: Path) -> "subprocess.Popen[str]":
    """A process that makes runs, in a group of its own with the trainings that it starts; what it says is its stdout.

    Args:
        runs, jobs: as `RunQueue.make` takes them.
        place: folder for what it reads.
    """
    file = place / "queue.pickle"
    file.write_bytes(pickle.dumps((list(runs), jobs)))
    return subprocess.Popen(
        [sys.executable, "-c", _QUEUE, str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment() | {"OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def wait_for_steps(run: StudyRun, steps: int, process: "subprocess.Popen[Any]") -> None:
    """Wait until a run has logged so many steps."""
    end = time.monotonic() + PATIENCE
    while not (run.path / "metrics.csv").is_file() or len(table(run.path)) < steps:
        log = run.path / "log.txt"
        assert process.poll() is None and time.monotonic() < end, log.read_text() if log.is_file() else "no log"
        time.sleep(0.02)


def results(run: StudyRun) -> list[dict[str, Any]]:
    """The numbers of a run's evaluation."""
    found: list[dict[str, Any]] = run.result()["results"]
    return found


def expect_same(one: StudyRun, other: StudyRun) -> None:
    """Assert that two runs have come to the same weights, to the bit, and to the same results."""
    assert same_weights(*(run.path / "checkpoints" / "last.ckpt" for run in (one, other)))
    assert results(one) == results(other)


def is_alive(pid: int) -> bool:
    """Whether a process has not ended; one that nobody has waited for has."""
    try:
        return _status(pid)[0] != "Z"
    except OSError:
        return False


def parent_of(pid: int) -> int:
    """The process that started a process."""
    return int(_status(pid)[1])


def _status(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()


def training_of(run: StudyRun) -> int:
    """The process that trains a run."""
    return int(json.loads((run.path / "owner.json").read_text(encoding="utf-8"))["pid"])


def end_group(process: "subprocess.Popen[Any]", signum: int) -> None:
    """Send a signal to a process of `start_queue` and its trainings, and wait for it."""
    os.killpg(process.pid, signum)
    process.wait(PATIENCE)
