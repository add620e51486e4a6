"""Draw the accuracies of an evaluation: bars with item errors, one colour a reading, chance as a line."""

from collections.abc import Sequence
from pathlib import Path

from lm_objectives.evaluation.results import Evaluation, Result
from lm_objectives.files import atomic_write

_MOST_BARS = 24  # groups of a task that have a bar each


def draw(evaluation: Evaluation, path: Path) -> bool:
    """Write a PNG with one row of bars a task; whether there is an accuracy to draw.

    Args:
        evaluation: the results.
        path: the file.
    """
    from matplotlib.figure import Figure

    tasks: dict[str, list[Result]] = {}
    for result in evaluation.results:
        if result.metric == "accuracy":
            tasks.setdefault(result.task, []).append(result)
    if not tasks:
        return False
    readings = list(dict.fromkeys(result.reading for results in tasks.values() for result in results))
    colours = {reading: f"C{number % 10}" for number, reading in enumerate(readings)}
    widths = [_bars(results) for results in tasks.values()]
    figure = Figure(figsize=(max(6.0, 0.22 * max(widths) + 2), 3.1 * len(tasks)), layout="constrained")
    source = evaluation.model.get("ckpt") or evaluation.model.get("folder") or ""
    figure.suptitle(f"{source}: accuracy, with the items' standard error", fontsize=9)
    for axis, (task, results) in zip(figure.subplots(len(tasks), 1, squeeze=False)[:, 0], tasks.items(), strict=True):
        names = _names(results)
        for number, result in enumerate(results):
            heights, errors = zip(*(_value(result, name) for name in names), strict=True)
            places = [place + (number - (len(results) - 1) / 2) * 0.8 / len(results) for place in range(len(names))]
            axis.bar(
                places,
                heights,
                0.8 / len(results),
                yerr=errors,
                color=colours[result.reading],
                label=result.reading,
                error_kw={"linewidth": 0.7},
            )
            if result.chance is not None:
                last, half = places[-1], 0.4 / len(results)  # of all together; groups may have other ones
                axis.hlines(result.chance, last - half, last + half, color="black", linewidth=1.5, linestyle=":")
        axis.plot([], [], color="black", linewidth=1.5, linestyle=":", label="chance")
        turned = len(names) > 6
        axis.set_xticks(range(len(names)), [name.replace("_", " ") for name in names], rotation=60 * turned)
        axis.tick_params(axis="x", labelsize=7)
        for label in axis.get_xticklabels() if turned else ():
            label.set_horizontalalignment("right")
        axis.set_title(task, loc="left")
        axis.set_ylabel("accuracy")
        axis.set_ylim(0, 1.05)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(fontsize=7, frameon=False, ncols=4, loc="lower right", bbox_to_anchor=(1, 1))
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)
    return True


def _names(results: Sequence[Result]) -> list[str]:
    """What has a bar: phenomena or else groups, where there are not too many; and all together."""
    first = results[0]
    parts = list(first.phenomena) or list(first.groups)
    same = all([*(result.phenomena or result.groups)] == parts for result in results)
    return [*(parts if same and len(parts) <= _MOST_BARS else []), "all"]


def _value(result: Result, name: str) -> tuple[float, float]:
    """The height of a bar, and its error."""
    if name == "all":
        return result.value, result.item_se or 0.0
    value, error = result.phenomena.get(name) or (result.groups[name], None)
    return value, error or 0.0


def _bars(results: Sequence[Result]) -> int:
    return len(_names(results)) * len(results)
