"""The figures in README and docs that are cheap to make are those that their commands give today."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["prepare", "pairs"])
def test_a_page_says_what_its_command_prints(name: str, tmp_path: Path) -> None:
    """Oracle: the command itself, run anew on the shipped corpus."""
    line = [sys.executable, str(ROOT / "benchmarks" / "figures.py"), "--check", name, "--root", str(tmp_path)]
    done = subprocess.run(line, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stdout + done.stderr
