"""Settings tried together before anything is written."""

import copy
import pickle
from typing import Any

import lightning.pytorch as L
import torch

from lm_objectives.data.datamodule import TextDataModule
from lm_objectives.data.rows import MicroBatches
from lm_objectives.pretraining import Pretraining, training_steps


def preflight(module: Pretraining, data: TextDataModule, trainer: L.Trainer, checkpoint: str | None) -> None:
    """Build a copy of everything, in shapes alone, and read the checkpoint that a run goes on from.

    Raises:
        ValueError: where settings do not fit one another, the corpus, or the checkpoint.
    """
    data.open(module.sources)
    MicroBatches(data.plan, 0, trainer.global_rank, trainer.world_size, trainer.accumulate_grad_batches)
    trial = copy.deepcopy(module)
    device = None if module.backbone.pretrained else "meta"
    trial.build(data.vocabulary, data.window, training_steps(trainer, data.steps_per_epoch), device)
    trial.schedule.factor(0, trial.steps)
    if checkpoint:
        trial.check_same(read_checkpoint(checkpoint)["state_dict"])


def read_checkpoint(path: str) -> dict[str, Any]:
    """A checkpoint of this package, from plain data and tensors alone.

    Raises:
        ValueError: when the file is missing or anything else.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError as error:
        raise ValueError(f"expected a checkpoint at {path}, found no such file: check the path") from error
    except (RuntimeError, OSError, EOFError, IndexError, pickle.UnpicklingError) as error:
        raise ValueError(f"expected a checkpoint at {path}, found a file of another kind: check the path") from error
    if not isinstance(checkpoint, dict) or "lm_objectives" not in checkpoint:
        raise ValueError(f"expected a checkpoint of lm-objectives at {path}, found another one: check the path")
    return checkpoint
