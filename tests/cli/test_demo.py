"""`lm-objectives demo` on the command line; what it shows is tested in tests/demo."""

from pathlib import Path

import pytest
from utils.command_line import complaint, run


def test_a_checkpoint_that_is_cut_off(trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = (trained / "checkpoints" / "last.ckpt").read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: len(whole) // 2])
    capfd.readouterr()
    assert run("demo", "--ckpt_path", tmp_path / "cut.ckpt") == 2
    assert "found one that is cut off or damaged: check the path" in complaint(capfd)


def test_what_is_shown(trained: Path, capfd: pytest.CaptureFixture[str]) -> None:
    last = trained / "checkpoints" / "last.ckpt"
    assert run("demo", "--ckpt_path", last, "--text", "The dog runs home. It sleeps.", "--greedy") == 0
    shown = capfd.readouterr().out
    assert all(f"{name} (" in shown for name in ("causal", "masked", "order"))
