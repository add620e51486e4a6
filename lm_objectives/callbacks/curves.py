"""Draw a run's losses and weights over its steps."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as L

from lm_objectives.files import atomic_write
from lm_objectives.training.loggers import MetricsTable


class Curves(L.Callback):
    """Draws `curves.png` next to `metrics.csv` when training ends."""

    def on_fit_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        table = Path(trainer.log_dir or trainer.default_root_dir) / "metrics.csv"  # asks all ranks
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        for logger in trainer.loggers:
            logger.save()
        if table.is_file():
            baselines = {
                name: [baseline for baseline in objective.baseline_names.get("loss", ()) if isinstance(baseline, str)]
                for name, objective in pl_module.objectives.items()
            }
            parameters = sum(parameter.numel() for parameter in pl_module.parameters())
            title = (
                f"{Path(trainer.default_root_dir).resolve().name}: {pl_module.backbone.config.model_type} of "
                f"{parameters / 1e6:.1f} M parameters, {trainer.global_step:,} steps, "
                f"balancer {type(pl_module.balancer).__name__}"
            )
            draw_curves(table, table.with_name("curves.png"), baselines, title)


def read_column(rows: Iterable[Mapping[str, str]], column: str) -> tuple[list[int], list[float]]:
    """Steps and values of the rows of a `metrics.csv` in which a column is filled.

    >>> read_column([{"step": "0", "loss": "7.5"}, {"step": "9", "loss": ""}, {"step": "19", "loss": "6.25"}], "loss")
    ([0, 19], [7.5, 6.25])
    """
    filled = [(int(row["step"]), float(row[column])) for row in rows if row.get(column)]
    return [step for step, _ in filled], [value for _, value in filled]


def draw_curves(table: Path, picture: Path, baselines: Mapping[str, Iterable[str]], title: str) -> None:
    """Draw the losses of each objective against its baselines, and the weights of all where they move.

    Args:
        table: a run's `metrics.csv`.
        picture: the PNG to write.
        baselines: for each objective, the held-out columns that its loss is compared with.
        title: what the run was.
    """
    from matplotlib.figure import Figure

    rows = MetricsTable(table).read()
    weights = {name: read_column(rows, f"train/{name}/weight") for name in baselines}
    move = any(len(set(values)) > 1 for _, values in weights.values())
    figure = Figure(figsize=(3.2 * (len(baselines) + move), 3.4), layout="constrained")
    figure.suptitle(title, fontsize=10)
    axes = figure.subplots(1, len(baselines) + move, squeeze=False)[0]
    for axis, (name, columns) in zip(axes, baselines.items(), strict=False):
        axis.plot(
            *read_column(rows, f"train/{name}/loss"), color="tab:blue", linewidth=0.8, alpha=0.5, label="training"
        )
        axis.plot(*read_column(rows, f"val/{name}/loss"), color="tab:red", marker="o", markersize=4, label="held out")
        for column, style in zip(columns, ("--", ":"), strict=False):
            _, values = read_column(rows, f"val/{name}/{column}")
            if values:
                axis.axhline(values[-1], color="black", linewidth=1, linestyle=style, label=column.replace("_", " "))
        axis.set(title=name, xlabel="step")
    axes[0].set_ylabel("loss (nats per scored position)")
    for name, line in weights.items() if move else ():
        axes[-1].plot(*line, label=name)
    if move:
        axes[-1].set(title="weights", xlabel="step")
        axes[-1].set_ylim(bottom=0)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(fontsize=7, frameon=False)
    with atomic_write(picture) as file:
        figure.savefig(file, format="png", dpi=120)
