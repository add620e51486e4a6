"""Checkpoints: plain data and tensors, read without executing anything that is in them."""

import dataclasses
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lm_objectives.data.tokenizer import tokenizer_from_files
from lm_objectives.plugin import from_config

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from lm_objectives.pretraining import Pretraining

KEY = "lm_objectives"
"""Where a checkpoint holds what Lightning does not know of."""


def read_checkpoint(path: str) -> dict[str, Any]:
    """A checkpoint of this package, with `weights_only`.

    Raises:
        ValueError: when the file is missing or anything else.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise ValueError(f"expected a checkpoint at {path}, found no such file: check the path")
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, OSError, EOFError, IndexError, KeyError, TypeError, pickle.UnpicklingError) as error:
        with file.open("rb") as begun:
            cut = begun.read(2) == b"PK" and not zipfile.is_zipfile(file)
        kind = "one that is cut off or damaged" if cut else "a file of another kind"
        raise ValueError(f"expected a checkpoint at {path}, found {kind}: check the path") from error
    if not isinstance(checkpoint, dict) or KEY not in checkpoint:
        raise ValueError(f"expected a checkpoint of lm-objectives at {path}, found another one: check the path")
    return checkpoint


def check_same_shapes(own: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    """Raise where a checkpoint's state is of another model than `own`."""
    for name in [*own, *saved]:
        here, there = (
            tuple(getattr(state[name], "shape", ())) if name in state else "nothing"  # extra state is no tensor
            for state in (own, saved)
        )
        if here != there:
            raise ValueError(
                f"expected a checkpoint of this model, found one of another: {name} is {here} in the model and "
                f"{there} in the checkpoint; give the configuration that the checkpoint was trained with"
            )


@dataclasses.dataclass(frozen=True)
class LoadedRun:
    """What a checkpoint holds besides the state of the training.

    Attributes:
        module: the model, in evaluation mode on the CPU.
        tokenizer: the one it was trained with.
        cache: folder of the run's token cache, where it still is.
    """

    module: "Pretraining"
    tokenizer: "PreTrainedTokenizerFast"
    cache: Path | None


def load_run(path: str) -> LoadedRun:
    """Load a checkpoint's model without a Trainer.

    Raises:
        ValueError: when there is none, it is not one of this package, or its classes cannot be made.
    """
    from lm_objectives.pretraining import Pretraining

    checkpoint = read_checkpoint(path)
    saved = checkpoint[KEY]
    if "tokenizer" not in saved:
        raise ValueError(
            f"expected a checkpoint that holds its tokenizer at {path}, found none in it: "
            "save it from a Trainer that has the TextDataModule"
        )
    try:
        described = checkpoint["hyper_parameters"]
        module = Pretraining(**{part: from_config(described[part]) for part in ("backbone", "objectives", "balancer")})
        module.on_load_checkpoint(checkpoint)
        module.load_state_dict(checkpoint["state_dict"])
    except (ImportError, AttributeError, TypeError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"expected a checkpoint whose classes can be made, found {path} with others ({reason}): "
            "run where your own classes can be imported"
        ) from error
    cache = Path(saved["cache"])
    return LoadedRun(module.eval(), tokenizer_from_files(saved["tokenizer"]), cache if cache.is_dir() else None)
