"""Load a trained model from its checkpoint, without a Trainer."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from lm_objectives.data.tokenizer import tokenizer_from_files
from lm_objectives.errors import InputError
from lm_objectives.plugin import import_modules
from lm_objectives.training.checkpoint import read_checkpoint
from lm_objectives.training.module import Pretraining
from lm_objectives.training.restore import made_from, make_parts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class LoadedRun:
    """A trained model and its tokenizer.

    Attributes:
        module: the model, in evaluation mode on the CPU.
        tokenizer: the one it was trained with.
        cache: folder of the run's token cache, where it still is.
        steps: optimizer steps that it was trained for.
        flops: of its training, where they were counted.
    """

    module: Pretraining
    tokenizer: "PreTrainedTokenizerFast"
    cache: Path | None
    steps: int
    flops: int | None


def load_run(path: str | PathLike[str], import_module: str | Sequence[str] = ()) -> LoadedRun:
    """Load a checkpoint's model without a Trainer.

    Args:
        path: the checkpoint.
        import_module: modules of yours to import before, whose classes it names; no others are imported for it.

    Raises:
        InputError: when there is none, it is not one of this version, or its classes cannot be made.
    """
    import_modules(import_module)
    checkpoint, saved = read_checkpoint(path)
    module = Pretraining(**make_parts(checkpoint, path))
    module.on_load_checkpoint(checkpoint)
    with made_from("state_dict", path):
        module.load_state_dict(checkpoint["state_dict"])
    if saved.tokenizer is None:
        raise InputError(
            f"expected a checkpoint that holds its tokenizer at {path}, found none in it: "
            "save it from a Trainer that has the TextDataModule"
        )
    cache = Path(saved.cache) if saved.cache else None
    tokenizer = tokenizer_from_files(saved.tokenizer)
    flops = checkpoint.get("callbacks", {}).get("Throughput", {}).get("flops")
    found = cache if cache and cache.is_dir() else None
    return LoadedRun(module.eval(), tokenizer, found, checkpoint["global_step"], flops)
