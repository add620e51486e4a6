"""Checkpoints on disk: whole or not at all."""

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from lm_objectives.whole_file import atomic_write


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside the one that it replaces and renames it.

    Lightning writes to the system's folder for temporary files and moves, which is a copy where that is another disk:
    a process killed in the middle leaves half a `last.ckpt` in the place of the whole one.

    Raises:
        ValueError: where a file cannot be written; the one before stays as it is.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        try:
            with atomic_write(Path(path)) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:  # torch's writer hides the system's error behind its own
            reason = error if isinstance(error, OSError) else error.__context__
            if not isinstance(reason, OSError):
                raise
            raise ValueError(
                f"expected room for a checkpoint, found that {path} cannot be written ({reason.strerror}): free some, "
                "and go on from the checkpoint before with --ckpt_path last"
            ) from error
