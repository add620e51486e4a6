"""Settings tried together before anything is written."""

import copy
from typing import Any

import lightning.pytorch as L

from lm_objectives.checkpoint import check_same, read_checkpoint
from lm_objectives.data.datamodule import TextDataModule
from lm_objectives.pretraining import Pretraining, training_steps


def preflight(module: Pretraining, data: TextDataModule, trainer: L.Trainer, checkpoint: str | None) -> None:
    """Build a copy of everything, in shapes alone, and read the checkpoint that a run goes on from.

    Raises:
        ValueError: where settings do not fit one another, the corpus, or the checkpoint.
    """
    for name in ("accumulate_grad_batches", "log_every_n_steps", "val_check_interval"):
        value = getattr(trainer, name)
        if value is not None and not value > 0:
            raise ValueError(f"expected trainer.{name} above 0, found {value}: raise it")
    data.open(module.sources)
    data.check(trainer)
    trial = copy.deepcopy(module)
    device = None if module.backbone.pretrained else "meta"
    trial.build(data.vocabulary, data.window, training_steps(trainer, data.steps_per_epoch), device)
    trial.schedule.factor(0, trial.steps)
    _check_monitors(trial, trainer)
    try:
        trial.configure_optimizers()
    except (TypeError, ValueError) as error:
        raise ValueError(f"expected an optimizer that can be made, found {error}: change model.optimizer") from error
    if checkpoint:
        check_same(trial.state_dict(), read_checkpoint(checkpoint)["state_dict"])


def _check_monitors(module: Pretraining, trainer: L.Trainer) -> None:
    """Raise where a callback waits for a held-out metric that no objective has, which else shows hours later."""
    metrics: Any = module.metrics
    known = {f"val/{name}/{metric}" for name in module.names for metric in (*metrics[name], "loss")}
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        monitor = getattr(callback, "monitor", None) or ""
        if monitor.startswith("val/") and monitor not in known:
            raise ValueError(
                f"expected {type(callback).__name__} to monitor a metric of an objective, found {monitor}: there are "
                f"{', '.join(sorted(known))}"
            )
