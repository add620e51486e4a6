"""How long a step of each arm takes on this machine: the first steps of a training of it, timed and thrown away."""

import csv
import math
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import yaml

from lm_objectives.comparison.study import Settings
from lm_objectives.errors import InputError

STEPS = 10
_FIRST = 2  # steps that are slower than others
_LONGEST = 1800.0  # seconds until those steps have to be there


def time_steps(runs: Mapping[str, Settings], rounds: int, environment: Mapping[str, str]) -> dict[str, float]:
    """Seconds of an optimizer step of each run: the median of ten, the least of several rounds.

    The runs take turns, so that a machine that is slow for a while is slow for all.

    Args:
        runs: settings of a run by name.
        rounds: how often each is timed.
        environment: variables of the training processes.

    Raises:
        InputError: where a run cannot be trained, with what it says.
    """
    found = dict.fromkeys(runs, math.inf)
    for _ in range(rounds):
        for name, settings in runs.items():
            found[name] = min(found[name], _time_one(name, settings, environment))
    return found


def _time_one(name: str, settings: Settings, environment: Mapping[str, str]) -> float:
    with TemporaryDirectory() as folder:
        root = Path(folder)
        trainer = {**settings["trainer"], "default_root_dir": folder, "log_every_n_steps": 1, "limit_val_batches": 0}
        alone = {**settings, "trainer": trainer, "tracking": {"wandb": "off"}}
        (root / "run.yaml").write_text(yaml.safe_dump(alone, sort_keys=False), encoding="utf-8")
        log, wanted = root / "log.txt", min(STEPS + _FIRST, trainer["max_steps"])
        command = [sys.executable, "-m", "lm_objectives", "fit", "--config", str(root / "run.yaml")]
        with log.open("wb") as file:
            process = subprocess.Popen(
                command, stdout=file, stderr=file, stdin=subprocess.DEVNULL, env={**os.environ, **environment}
            )
            try:
                _wait_for(process, root / "metrics.csv", wanted)
            finally:
                process.kill()
                process.wait()
        times = _step_seconds(root / "metrics.csv")
        if len(times) < wanted:
            said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise InputError(f"arm {name} cannot be trained: {said[-1] if said else 'its training said nothing'}")
        return median(times[min(_FIRST, len(times) - 1) :])


def _wait_for(process: "subprocess.Popen[bytes]", table: Path, rows: int) -> None:
    end = time.monotonic() + _LONGEST
    while process.poll() is None and len(_step_seconds(table)) < rows and time.monotonic() < end:
        time.sleep(0.2)


def _step_seconds(table: Path) -> list[float]:
    """Seconds of each step that a run has logged: its tokens over its tokens a second."""
    if not table.is_file():
        return []
    with table.open(newline="", encoding="utf-8") as file:
        lines = [line for line in file if line.endswith("\n")]
    rows = [row for row in csv.DictReader(lines) if row.get("train/tokens_per_second")]
    tokens = [float(row["train/tokens"]) for row in rows]
    read = [after - before for before, after in zip([0.0, *tokens], tokens, strict=False)]
    return [number / max(float(row["train/tokens_per_second"]), 1e-9) for number, row in zip(read, rows, strict=True)]
