"""Exit codes, and the command as a process of its own."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from lightning.pytorch.utilities.exceptions import SIGTERMException
from utils.command_line import PROGRAM, environment, run

from lm_objectives.cli import main as cli
from lm_objectives.errors import InputError


def test_a_run_that_is_terminated_does_not_report_success(monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: 128 and the signal's number, as shells have it. Lightning's exception is a SystemExit without a code."""

    def terminated(*_: object) -> None:
        raise SIGTERMException

    monkeypatch.setattr(cli, "_train", terminated)
    assert run("fit") == 128 + signal.SIGTERM


def test_module_and_script() -> None:
    shown = subprocess.run([*PROGRAM, "--help"], capture_output=True, text=True, env=environment(), check=True)
    assert shown.stdout.startswith("usage: lm-objectives COMMAND") and shown.stderr == ""
    script = Path(sys.executable).with_name("lm-objectives")
    version = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"lm-objectives \d+\.\d+\S*\n", version.stdout)


def test_a_reader_may_leave() -> None:
    """As with `| head`: 141, what the shell says of SIGPIPE."""
    process = subprocess.Popen(
        [*PROGRAM, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == ("", 141)
    process.stderr.close()


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where its wording is that of bad input."""

    def defect(*_: object) -> None:
        raise ValueError("expected a plan, found none: make one")

    monkeypatch.setattr(cli, "_train", defect)
    with pytest.raises(ValueError, match="expected a plan"):
        run("fit")


def test_one_rank_alone_speaks(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def bad(*_: object) -> None:
        raise InputError("expected a plan,\n found none")

    monkeypatch.setattr(cli, "_train", bad)
    for rank, line in ("0", "lm-objectives: error: expected a plan, found none\n"), ("1", ""):
        monkeypatch.setenv("LOCAL_RANK", rank)
        capfd.readouterr()
        assert run("fit") == 2
        assert capfd.readouterr().err == line
