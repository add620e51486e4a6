"""Draw a run's losses and weights over its steps."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as L

from lm_objectives.training.loggers import MetricsTable


class Curves(L.Callback):
    """Draws `curves.png` next to `metrics.csv` when training ends."""

    def on_fit_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        table = Path(trainer.log_dir or trainer.default_root_dir) / "metrics.csv"  # asks all ranks
        if not trainer.is_global_zero:
            return
        for logger in trainer.loggers:
            logger.save()
        if table.is_file():
            baselines = {
                name: [baseline for baseline in objective.baseline_names.get("loss", ()) if isinstance(baseline, str)]
                for name, objective in pl_module.objectives.items()
            }
            draw_curves(table, table.with_name("curves.png"), baselines)


def read_column(rows: Iterable[Mapping[str, str]], column: str) -> tuple[list[int], list[float]]:
    """Steps and values of the rows of a `metrics.csv` in which a column is filled.

    >>> read_column([{"step": "0", "loss": "7.5"}, {"step": "9", "loss": ""}, {"step": "19", "loss": "6.25"}], "loss")
    ([0, 19], [7.5, 6.25])
    """
    filled = [(int(row["step"]), float(row[column])) for row in rows if row.get(column)]
    return [step for step, _ in filled], [value for _, value in filled]


def draw_curves(table: Path, picture: Path, baselines: Mapping[str, Iterable[str]]) -> None:
    """Draw the losses of each objective next to its baselines, and the weights of all.

    Args:
        table: a run's `metrics.csv`.
        picture: the PNG to write.
        baselines: for each objective, the held-out columns that its loss is compared with.
    """
    from matplotlib.figure import Figure

    rows = MetricsTable(table).read()
    figure = Figure(figsize=(3.4 * (len(baselines) + 1), 3.2), layout="constrained")
    axes = figure.subplots(1, len(baselines) + 1, squeeze=False)[0]
    for axis, (name, columns) in zip(axes, baselines.items(), strict=False):
        training, held_out = read_column(rows, f"train/{name}/loss"), read_column(rows, f"val/{name}/loss")
        axis.plot(*training, color="tab:blue", linewidth=0.8, alpha=0.6, label="training")
        axis.plot(*held_out, color="tab:red", marker="o", markersize=3, label="held out")
        for column, style in zip(columns, ("--", ":"), strict=False):
            _, values = read_column(rows, f"val/{name}/{column}")
            if values:
                axis.axhline(values[-1], color="black", linewidth=0.8, linestyle=style, label=column.replace("_", " "))
        axis.set(title=name, xlabel="step", ylabel="loss (nats per scored position)")
        axis.legend(fontsize=7)
    for name in baselines:
        axes[-1].plot(*read_column(rows, f"train/{name}/weight"), label=name)
    axes[-1].set(title="weights", xlabel="step")
    axes[-1].set_ylim(bottom=0)
    axes[-1].legend(fontsize=7)
    figure.savefig(picture, dpi=120)
