"""A picture of a run: losses and weights over its steps."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning.pytorch as L

from lm_objectives.objectives.base import BaselineNames


class Curves(L.Callback):
    """Draws `curves.png` beside `metrics.csv` when training ends."""

    def on_fit_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        table = Path(trainer.log_dir or trainer.default_root_dir) / "metrics.csv"  # asks all ranks
        if not trainer.is_global_zero:
            return
        for logger in trainer.loggers:
            logger.save()
        if table.is_file():
            marks = {name: _named(objective.baseline_names) for name, objective in pl_module.objectives.items()}
            draw(table, table.with_name("curves.png"), marks)


def _named(yardsticks: BaselineNames) -> tuple[str, ...]:
    """The columns that a loss is read beside."""
    return tuple(mark for mark in yardsticks.get("loss", ()) if isinstance(mark, str))


def read_column(rows: Iterable[dict[str, str]], column: str) -> tuple[list[int], list[float]]:
    """Steps and values of the rows of a `metrics.csv` in which a column is filled."""
    filled = [(int(row["step"]), float(row[column])) for row in rows if row.get(column)]
    return [step for step, _ in filled], [value for _, value in filled]


def draw(table: Path, picture: Path, yardsticks: dict[str, tuple[str, ...]]) -> None:
    """Draw the losses of each objective beside its yardsticks, and the weights of all.

    Args:
        table: a run's `metrics.csv`.
        picture: the PNG to write.
        yardsticks: for each objective, the held-out columns that its loss is read beside.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(3.4 * (len(yardsticks) + 1), 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(yardsticks) + 1, squeeze=False)[0]
    for axis, (name, marks) in zip(axes, yardsticks.items(), strict=False):
        axis.plot(
            *read_column(rows, f"train/{name}/loss"), color="tab:blue", linewidth=0.8, alpha=0.6, label="training"
        )
        axis.plot(*read_column(rows, f"val/{name}/loss"), color="tab:red", marker="o", markersize=3, label="held out")
        for mark, style in zip(marks, ("--", ":"), strict=False):
            _, values = read_column(rows, f"val/{name}/{mark}")
            if values:
                axis.axhline(values[-1], color="black", linewidth=0.8, linestyle=style, label=mark.replace("_", " "))
        axis.set(title=name, xlabel="step", ylabel="loss (nats per scored position)")
        axis.legend(fontsize=7)
    for name in yardsticks:
        axes[-1].plot(*read_column(rows, f"train/{name}/weight"), label=name)
    axes[-1].set(title="weights", xlabel="step")
    axes[-1].set_ylim(bottom=0)
    axes[-1].legend(fontsize=7)
    figure.savefig(picture, dpi=120)
