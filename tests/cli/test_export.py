"""`lm-objectives export` on the command line; what it writes is tested in tests/export."""

from pathlib import Path

import pytest
from utils.command_line import complaint, run


def test_one_objective_or_none(trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    last = trained / "checkpoints" / "last.ckpt"
    assert run("export", "--ckpt_path", last, "--output", tmp_path / "out", "--objective", "causal") == 0
    assert (tmp_path / "out" / "config.json").is_file()
    capfd.readouterr()
    assert run("export", "--ckpt_path", last, "--output", tmp_path / "none", "--objective", "casual") == 2
    assert "expected one of causal, masked, order as the objective, found 'casual'" in complaint(capfd)
    assert not (tmp_path / "none").exists()
