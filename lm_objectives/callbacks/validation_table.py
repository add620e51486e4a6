"""Print the table of `validate`."""

from collections.abc import Collection, Mapping
from typing import Any

import lightning.pytorch as L

from lm_objectives.objectives.base import BaselineNames
from lm_objectives.tables import format_table


class ValidationTable(L.Callback):
    """Prints each objective's held-out loss and metrics, each next to what a constant prediction reaches."""

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if trainer.is_global_zero and not trainer.sanity_checking:
            values = {name: float(value) for name, value in trainer.callback_metrics.items()}
            objectives = pl_module.objectives.items()
            nats = {name: {"loss", *objective.loss_weights} for name, objective in objectives}
            print(validation_table(values, {name: o.baseline_names for name, o in objectives}, nats))


def validation_table(
    values: Mapping[str, float], baselines: Mapping[str, BaselineNames], nats: Mapping[str, Collection[str]]
) -> str:
    """Format held-out numbers as a table.

    Args:
        values: `val/<objective>/<metric>` to its value.
        baselines: for each objective, the baselines of its metrics.
        nats: for each objective, its losses.

    >>> values = {"val/order/loss": 0.639, "val/order/base_rate": 0.693, "val/order/accuracy": 0.625}
    >>> baselines = {"order": {"loss": ("base_rate",), "accuracy": (("coin", 0.5),)}}
    >>> print(validation_table(values, baselines, {"order": {"loss"}}))
    objective  metric       model  baseline
    ---------  -----------  -----  ---------------
    order      loss (nats)  0.639  base rate 0.693
               accuracy     0.625  coin 0.500
    """
    rows: list[tuple[str, str, str, str]] = []
    for name, compared in baselines.items():
        own = {key.split("/", 2)[2]: value for key, value in values.items() if key.startswith(f"val/{name}/")}
        hidden = {*compared, *(baseline for named in compared.values() for baseline in named)}
        first = name
        for metric in [*(key for key in compared if key in own), *(key for key in own if key not in hidden)]:
            named = [
                entry if isinstance(entry, tuple) else (entry, own.get(entry)) for entry in compared.get(metric, ())
            ]
            texts = [f"{key.replace('_', ' ')} {_format(key, value)}" for key, value in named if value is not None]
            label = metric.replace("_", " ") + (" (nats)" if metric in nats[name] else "")
            rows.append((first, label, _format(metric, own[metric]), ", ".join(texts)))
            first = ""
    return format_table(("objective", "metric", "model", "baseline"), rows)


def _format(metric: str, value: float) -> str:
    return f"{value:.1f}" if abs(value) >= 100 or metric.endswith("perplexity") else f"{value:.3f}"
