"""Ranks that the command starts by itself end together, whichever of them is stopped or killed, and when."""

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from utils.command_line import PROGRAM, environment

from lm_objectives.training.checkpoint import read_checkpoint

pytestmark = pytest.mark.slow

SECONDS = 120.0  # in which all of them have to end


class Two:
    """A training on two ranks, of which the first starts the second."""

    def __init__(self, place: Path, root: Path) -> None:
        self.root = root
        flags = ["--trainer.max_steps", "100000", "--model.lr_schedule", "{kind: constant, warmup: 0}"]
        flags += ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.default_root_dir", str(root)]
        self.errors = (root.parent / "errors.txt").open("w+", encoding="utf-8")
        command = [*PROGRAM, "fit", "--config", str(place / "tiny.yaml"), *flags]
        self.first = subprocess.Popen(command, env=environment(), stderr=self.errors, stdout=self.errors)

    def second(self) -> int | None:
        """The process of the second rank, once there is one."""
        found = subprocess.run(["pgrep", "-P", str(self.first.pid)], capture_output=True, text=True, check=False)
        return int(found.stdout.split()[0]) if found.stdout else None

    def wait_for(self, what: str) -> int:
        """Wait until the second rank is there, or has trained; returns its process."""
        end = time.monotonic() + 120
        while time.monotonic() < end and self.first.poll() is None:
            second = self.second()
            trains = (self.root / "metrics.csv").is_file()
            if second is not None and (what == "started" or trains):
                return second
            time.sleep(0.05)
        raise TimeoutError(self.said())

    def end(self, second: int) -> int:
        """The first rank's exit code, once both have ended."""
        code = self.first.wait(SECONDS)
        end = time.monotonic() + SECONDS
        while _lives(second):
            assert time.monotonic() < end, "the second rank lives on"
            time.sleep(0.1)
        return code

    def said(self) -> str:
        self.errors.seek(0)
        return self.errors.read()


def _lives(process: int) -> bool:
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False)
    return bool(found.stdout.strip()) and not found.stdout.startswith("Z")


@pytest.fixture
def two(place: Path, tmp_path: Path) -> Iterator[Two]:
    training = Two(place, tmp_path / "run")
    yield training
    second = training.second()
    training.first.kill()
    training.first.wait()
    if second is not None:
        subprocess.run(["kill", "-9", str(second)], capture_output=True, check=False)


@pytest.mark.parametrize(("who", "signum"), [("first", signal.SIGINT), ("second", signal.SIGTERM)])
def test_a_signal_to_either_ends_both(who: str, signum: signal.Signals, two: Two) -> None:
    second = two.wait_for("trained")
    subprocess.run(["kill", f"-{signum.name[3:]}", str(two.first.pid if who == "first" else second)], check=True)
    assert two.end(second) == 128 + signum, two.said()
    assert two.said().count("the same command with --ckpt_path last goes on") == 1 and "Traceback" not in two.said()
    read_checkpoint(str(two.root / "checkpoints" / "last.ckpt"))


@pytest.mark.parametrize(("who", "when"), [("first", "trained"), ("first", "started"), ("second", "started")])
def test_one_that_is_killed_ends_the_other_with_a_line(who: str, when: str, two: Two) -> None:
    second = two.wait_for(when)
    subprocess.run(["kill", "-9", str(two.first.pid if who == "first" else second)], check=True)
    assert two.end(second) == (-signal.SIGKILL if who == "first" else 1), two.said()
    assert "Traceback" not in two.said()
    if when == "trained" or who == "second":
        assert two.said().count("expected all ranks to train to the end, found that ") == 1, two.said()


def test_a_signal_before_they_have_met_ends_both(two: Two) -> None:
    second = two.wait_for("started")
    subprocess.run(["kill", "-TERM", str(second)], check=True)
    assert two.end(second) in (1, 143)
    assert "Traceback" not in two.said()
