"""Load a trained model from its checkpoint, without a Trainer."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lm_objectives.data.tokenizer import tokenizer_from_files
from lm_objectives.errors import InputError
from lm_objectives.plugin import from_config
from lm_objectives.training.checkpoint import read_checkpoint
from lm_objectives.training.module import Pretraining

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class LoadedRun:
    """A trained model and its tokenizer.

    Attributes:
        module: the model, in evaluation mode on the CPU.
        tokenizer: the one it was trained with.
        cache: folder of the run's token cache, where it still is.
    """

    module: Pretraining
    tokenizer: "PreTrainedTokenizerFast"
    cache: Path | None


def load_run(path: str) -> LoadedRun:
    """Load a checkpoint's model without a Trainer.

    Raises:
        InputError: when there is none, it is not one of this version, or its classes cannot be made.
    """
    try:
        checkpoint, saved = read_checkpoint(path)
        config = checkpoint["hyper_parameters"]
        module = Pretraining(**{name: from_config(config[name]) for name in ("backbone", "objectives", "balancer")})
        module.on_load_checkpoint(checkpoint)
        module.load_state_dict(checkpoint["state_dict"])
    except (ImportError, AttributeError, TypeError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"expected a checkpoint whose classes can be made, found {path} with others ({reason}): "
            "run where your own classes can be imported"
        ) from error
    if saved.tokenizer is None:
        raise InputError(
            f"expected a checkpoint that holds its tokenizer at {path}, found none in it: "
            "save it from a Trainer that has the TextDataModule"
        )
    cache = Path(saved.cache) if saved.cache else None
    tokenizer = tokenizer_from_files(saved.tokenizer)
    return LoadedRun(module.eval(), tokenizer, cache if cache and cache.is_dir() else None)
