"""Draw a study: dots of a seed joined across arms, differences with intervals, numbers over compute, weights."""

import io
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from lm_objectives.comparison.evidence.analysis import Analysis, NumberSummary
from lm_objectives.comparison.evidence.metrics import describe, is_percent, unit
from lm_objectives.comparison.records import RunRecord
from lm_objectives.comparison.report.terminal import unit_text
from lm_objectives.comparison.wording import amount

_MOST_PANELS = 12  # of held-out numbers over the training
_COLUMNS = 4
_WIDE = 12  # letters of an arm's name that stand in one line under its dots


def draw_pictures(analysis: Analysis) -> dict[str, bytes]:
    """PNGs by their file names: one for each number that stands first, and what moved over the training."""
    pictures = {
        picture_name(summary.number): _png(partial(_draw_number, summary=summary, analysis=analysis))
        for summary in analysis.shown
    }
    trained = [run for run in analysis.table.records if run.rung == analysis.table.last]
    if curve_names(trained):
        pictures["curves.png"] = _png(lambda figure: _draw_curves(figure, trained, analysis))
    if moving_arms(trained):
        pictures["weights.png"] = _png(lambda figure: _draw_weights(figure, trained))
    if analysis.table.last and analysis.shown:
        pictures["ladder.png"] = _png(lambda figure: _draw_ladder(figure, analysis))
    return pictures


def picture_name(number: str) -> str:
    """The file of a number's picture.

    >>> picture_name("held_out/masked:second/nats")
    'held_out_masked_second_nats.png'
    """
    return f"{''.join(c if c.isalnum() or c in '-.' else '_' for c in number)}.png"


def curve_names(runs: Sequence[RunRecord]) -> list[str]:
    """The held-out losses that runs have measured more than once over their training."""
    names = dict.fromkeys(name for run in runs for name, points in run.curves.items() if len(points) > 1)
    return [name for name in names if name.endswith("/loss")][:_MOST_PANELS]


def moving_arms(runs: Sequence[RunRecord]) -> list[str]:
    """Arms in which a weight moves."""
    moves = [run.arm for run in runs if any(len({weight for _, weight in line}) > 1 for line in run.weights.values())]
    return list(dict.fromkeys(moves))


def _png(draw: Callable[[Any], None]) -> bytes:
    """The bytes of a picture, equal for equal content: without a date or a version."""
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    draw(figure)
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
        if axis.get_legend_handles_labels()[1]:
            axis.legend(fontsize=7, frameon=False)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120, metadata={"Software": None})
    return file.getvalue()


def _draw_number(figure: Any, summary: NumberSummary, analysis: Analysis) -> None:
    """Dots by arm with means on the left; differences from the first arm, and claims' margins, on the right."""
    number, scale = summary.number, 100 if is_percent(summary.number) else 1
    rows = [row for row in summary.at(analysis.table.last) if row.values]
    others = [row for row in rows if row.minus_first is not None]
    figure.set_size_inches(max(4.0, 1.0 * len(rows) + 2) + 3.6 * bool(others), 3.4)
    axes = figure.subplots(1, 1 + bool(others), squeeze=False)[0]
    for seed in analysis.table.seeds:
        places = [place for place, row in enumerate(rows) if seed in row.values]
        values = [scale * rows[place].values[seed] for place in places]
        axes[0].plot(places, values, color="0.6", linewidth=0.7, marker="o", markersize=4)
    for place, row in enumerate(rows):
        if row.summary is not None:
            axes[0].hlines(scale * row.summary.mean, place - 0.2, place + 0.2, color=_colour(row.arm, analysis))
    if summary.chance is not None and _is_near(scale * summary.chance, axes[0]):
        axes[0].axhline(scale * summary.chance, color="black", linewidth=1, linestyle=":", label="chance")
    names = [row.arm if len(row.arm) <= _WIDE else row.arm.replace("_", "_\n") for row in rows]
    axes[0].set_xticks(range(len(rows)), names)
    axes[0].set_xlim(-0.5, len(rows) - 0.5)
    axes[0].set_ylabel(unit_text(number))
    axes[0].set_title(describe(number), fontsize=9, loc="left")
    if not others:
        return
    for place, row in enumerate(others):
        difference = row.minus_first
        assert difference is not None
        ends = difference.interval
        half = 0.0 if ends is None else scale * (ends.high - difference.mean)
        colour = _colour(row.arm, analysis)
        axes[1].errorbar(scale * difference.mean, place, xerr=half, color=colour, marker="o", capsize=3)
    first = analysis.table.arms[0]
    margins = [
        test.claim.within
        for test in analysis.claims
        if test.number == number and test.claim.within is not None and first in (test.claim.arm, *test.claim.others)
    ]
    for place, margin in enumerate(sorted({*margins}, reverse=True)):  # the narrower on top
        grey = f"{max(0.92 - 0.08 * place, 0.6):.2f}"
        axes[1].axvspan(-scale * margin, scale * margin, color=grey, label=f"margin {scale * margin:g}")
    axes[1].axvline(0, color="black", linewidth=0.8)
    axes[1].set_yticks(range(len(others)), [row.arm for row in others])
    axes[1].set_ylim(len(others) - 0.5, -0.5)
    axes[1].set_xlabel(unit(number))
    axes[1].set_title(f"- {first}, with 95 % intervals", fontsize=9, loc="left")


def _is_near(value: float, axis: Any) -> bool:
    """Whether a line fits in without pressing the dots together."""
    low, high = axis.get_ylim()
    return bool(low - (high - low) < value < high + (high - low))


def _panels(figure: Any, number: int) -> list[Any]:
    """So many axes, in rows of at most four."""
    columns = min(number, _COLUMNS)
    rows = math.ceil(number / columns)
    figure.set_size_inches(3.6 * columns + 0.4, 3.2 * rows + 0.2)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in axes[number:]:
        unused.remove()
    return axes[:number]


def _draw_curves(figure: Any, runs: Sequence[RunRecord], analysis: Analysis) -> None:
    names = curve_names(runs)
    for axis, name in zip(_panels(figure, len(names)), names, strict=True):
        named: set[str] = set()
        for run in runs:
            if run.curves.get(name):
                label = None if run.arm in named else run.arm
                named.add(run.arm)
                axis.plot(*zip(*run.curves[name], strict=True), color=_colour(run.arm, analysis), lw=0.8, label=label)
        axis.set_title(name, fontsize=9, loc="left")
        axis.set_xlabel("model FLOPs")
        axis.set_ylabel("nats, held out")


def _draw_weights(figure: Any, runs: Sequence[RunRecord]) -> None:
    arms = moving_arms(runs)
    for axis, arm in zip(_panels(figure, len(arms)), arms, strict=True):
        of_arm = [run for run in runs if run.arm == arm]
        objectives = list(dict.fromkeys(name for run in of_arm for name in run.weights))
        for colour, objective in enumerate(objectives):
            lines = [run.weights[objective] for run in of_arm if run.weights.get(objective)]
            for number, line in enumerate(lines):
                label = None if number else objective
                axis.plot(*zip(*line, strict=True), color=f"C{colour % 10}", linewidth=0.8, label=label)
        axis.set_title(f"weights of {arm}", fontsize=9, loc="left")
        axis.set_xlabel("step")
        axis.set_ylim(bottom=0)


def _draw_ladder(figure: Any, analysis: Analysis) -> None:
    table, shown = analysis.table, analysis.shown
    for axis, summary in zip(_panels(figure, len(shown)), shown, strict=True):
        scale = 100 if is_percent(summary.number) else 1
        for arm in table.arms:
            rows = [row for row in summary.arms if row.arm == arm and row.summary is not None]
            means = [(table.amounts[row.rung], scale * row.summary.mean) for row in rows if row.summary is not None]
            dots = [(table.amounts[row.rung], scale * value) for row in rows for value in row.values.values()]
            if means:
                colour = _colour(arm, analysis)
                axis.plot(*zip(*means, strict=True), color=colour, linewidth=1, label=arm)
                axis.plot(*zip(*dots, strict=True), color=colour, linestyle="", marker="o", markersize=3)
        axis.set_xscale("log")
        axis.set_xticks(table.amounts, [amount(value) for value in table.amounts])
        axis.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
        axis.set_title(describe(summary.number), fontsize=9, loc="left")
        axis.set_xlabel("budget")
        axis.set_ylabel(unit_text(summary.number))


def _colour(arm: str, analysis: Analysis) -> str:
    return f"C{analysis.table.arms.index(arm) % 10}"
