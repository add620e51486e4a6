"""The command in this process, and what a run leaves."""

import csv
import os
import sys
from pathlib import Path

import pytest
import torch
import yaml

from lm_objectives import __main__ as command_line

PROGRAM = [sys.executable, "-m", "lm_objectives"]
REPOSITORY = Path(__file__).parents[2]


def run(*arguments: object) -> int:
    """The command in this process; its exit code."""
    try:
        return command_line.main([str(argument) for argument in arguments])
    except SystemExit as error:  # --help and --print_config
        return int(error.code or 0)


def fit(place: Path, root: Path, *arguments: object) -> int:
    return run("fit", "--config", place / "tiny.yaml", "--trainer.default_root_dir", root, *arguments)


def table(root: Path) -> list[dict[str, str]]:
    with (root / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    return torch.load(checkpoint, weights_only=True)["state_dict"]


def same_weights(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def contents(root: Path) -> dict[str, bytes]:
    """All files in a folder, byte for byte."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:
    capsys.readouterr()
    assert run(*arguments, "--print_config") == 0
    return yaml.safe_load(capsys.readouterr().out)


def complaint(capfd: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr."""
    error = capfd.readouterr().err
    assert error.startswith("lm-objectives: error: ") and error.count("\n") == 1, error
    assert "Traceback" not in error
    return error


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(REPOSITORY)}
