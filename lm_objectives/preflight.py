"""Settings tried together before anything is written."""

import copy

import lightning.pytorch as L

from lm_objectives.checkpoint import check_same, read_checkpoint
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
        check_same(trial.state_dict(), read_checkpoint(checkpoint)["state_dict"])
