"""The table that `validate` prints."""

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as L

from lm_objectives.objectives.base import BaselineNames

_NATS = ("loss", "generator", "discriminator")


class ValidationTable(L.Callback):
    """Prints each objective's held-out loss and metrics, each beside what a constant prediction reaches."""

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if trainer.is_global_zero and not trainer.sanity_checking:
            values = {name: float(value) for name, value in trainer.callback_metrics.items()}
            print(table(values, {name: o.baseline_names for name, o in pl_module.objectives.items()}))


def table(values: Mapping[str, float], yardsticks: Mapping[str, BaselineNames]) -> str:
    """Lines of the table.

    Args:
        values: `val/<objective>/<metric>` to its value.
        yardsticks: for each objective, what its metrics are read beside.
    """
    lines = [("objective", "metric", "model", "baseline")]
    for name, marks in yardsticks.items():
        own = {key.split("/", 2)[2]: value for key, value in values.items() if key.startswith(f"val/{name}/")}
        beside = {mark for names in marks.values() for mark in names}
        first = name
        for metric in [*marks, *(key for key in own if key not in marks and key not in beside)]:
            if metric in own:
                named = [mark if isinstance(mark, tuple) else (mark, own.get(mark)) for mark in marks.get(metric, ())]
                pairs = [(mark, value) for mark, value in named if value is not None]
                others = ", ".join(f"{mark.replace('_', ' ')} {_show(mark, value)}" for mark, value in pairs)
                unit = " (nats)" if metric in _NATS else ""
                lines.append((first, metric.replace("_", " ") + unit, _show(metric, own[metric]), others))
                first = ""
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    rule = "  ".join("-" * width for width in widths)
    rows = ["  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([rows[0], rule, *rows[1:]])


def _show(metric: str, value: float) -> str:
    return f"{value:.1f}" if abs(value) >= 100 or metric.endswith("perplexity") else f"{value:.3f}"
