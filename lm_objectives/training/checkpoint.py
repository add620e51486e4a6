"""Checkpoints: plain data and tensors, read without executing anything that is in them."""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from torch import Tensor

from lm_objectives.errors import InputError
from lm_objectives.files import atomic_write

if TYPE_CHECKING:
    pass

KEY = "lm_objectives"
"""Where a checkpoint holds what Lightning does not know of."""


def read_checkpoint(path: str) -> dict[str, Any]:
    """A checkpoint of this package, with `weights_only`.

    Raises:
        ValueError: when the file is missing or anything else.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise InputError(f"expected a checkpoint at {path}, found no such file: check the path")
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, OSError, EOFError, IndexError, KeyError, TypeError, pickle.UnpicklingError) as error:
        with file.open("rb") as begun:
            cut = begun.read(2) == b"PK" and not zipfile.is_zipfile(file)
        kind = "one that is cut off or damaged" if cut else "a file of another kind"
        raise InputError(f"expected a checkpoint at {path}, found {kind}: check the path") from error
    if not isinstance(checkpoint, dict) or KEY not in checkpoint:
        raise InputError(f"expected a checkpoint of lm-objectives at {path}, found another one: check the path")
    return checkpoint


def check_same_shapes(own: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    """Raise where a checkpoint's state is of another model than `own`."""
    for name in [*own, *saved]:
        here, there = (
            tuple(getattr(state[name], "shape", ())) if name in state else "nothing"  # extra state is no tensor
            for state in (own, saved)
        )
        if here != there:
            raise InputError(
                f"expected a checkpoint of this model, found one of another: {name} is {here} in the model and "
                f"{there} in the checkpoint; give the configuration that the checkpoint was trained with"
            )


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
            raise InputError(
                f"expected room for a checkpoint, found that {path} cannot be written ({reason.strerror}): free some, "
                "and go on from the checkpoint before with --ckpt_path last"
            ) from error
