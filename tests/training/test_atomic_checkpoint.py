"""A checkpoint that cannot be written leaves the one before, and one clear line."""

import resource
from pathlib import Path

import pytest
import torch

from lm_objectives.training.checkpoint import AtomicCheckpointIO


def test_a_full_disk_is_one_line_and_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    """No file may grow past the limit: what a write then says is what a full disk says, with another number."""
    path, checkpoints = tmp_path / "last.ckpt", AtomicCheckpointIO()
    checkpoints.save_checkpoint({"step": 1}, path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(ValueError, match=r"^expected room for a checkpoint, .*last.ckpt .*large.*: free"):
            checkpoints.save_checkpoint({"step": 2, "weights": torch.zeros(100_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert torch.load(path) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_matter_of_the_disk_stays_a_defect(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"(?i)pickle"):
        AtomicCheckpointIO().save_checkpoint({"function": lambda: None}, tmp_path / "a.ckpt")
    assert not list(tmp_path.iterdir())
