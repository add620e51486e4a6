"""Multi-objective language-model pretraining on PyTorch Lightning."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lm_objectives.backbone.backbone import Backbone as Backbone
    from lm_objectives.data.datamodule import TextDataModule as TextDataModule
    from lm_objectives.optim import LRSchedule as LRSchedule
    from lm_objectives.training.module import Pretraining as Pretraining

_HOMES = {
    "Backbone": "backbone",
    "Pretraining": "pretraining",
    "Schedule": "optimisation",
    "TextDataModule": "data.datamodule",
}


__all__ = ["Backbone", "LRSchedule", "Pretraining", "TextDataModule"]


def __getattr__(name: str) -> Any:
    """Import on first use, so that `lm-objectives --help` need not load torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
