"""The results of an evaluation: numbers with chance and error, their table, and `evaluation.json`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lm_objectives.files import atomic_write
from lm_objectives.tables import format_table

SCHEMA = 1
"""Version of the layout of `evaluation.json`; another number means that keys have other meanings."""


@dataclass(frozen=True)
class Result:
    """One number of a model.

    Attributes:
        task: what it is of.
        reading: how the model was read.
        metric: what was measured: `accuracy` and others that are shares, `nats`, `bits_per_byte`, …
        value: the number.
        n: items that it is over.
        item_se: its standard error over the items, `None` where there is none. That over seeds is another.
        chance: what knowing nothing gives, or a control; `None` where there is none.
        ties: items in which the right answer shares the best score, each of which counts a part.
        truncated: items of which the start of a context was cut off.
        unknown: scored tokens that stand for what the tokenizer does not know.
        group_key: the field of the items that `groups` are of.
        groups: the number of each group; the value is their mean.
        phenomena: mean of the groups of each phenomenon, and its standard error over the items.
        items: file of the items' scores, next to the results.
    """

    task: str
    reading: str
    metric: str
    value: float
    n: int
    item_se: float | None = None
    chance: float | None = None
    ties: int = 0
    truncated: int = 0
    unknown: int = 0
    group_key: str | None = None
    groups: dict[str, float] = field(default_factory=dict)
    phenomena: dict[str, tuple[float, float | None]] = field(default_factory=dict)
    items: str | None = None

    @property
    def key(self) -> str:
        """Its name among other numbers, `evaluate/<task>/<reading>/<metric>`."""
        return f"evaluate/{self.task}/{self.reading}/{self.metric}"


@dataclass(frozen=True)
class Evaluation:
    """All results of one model.

    Attributes:
        model: its path, sizes, and what it was trained on.
        settings: of the evaluation, and versions of what it ran with.
        results: in the order in which they were made.
        notes: what was left out, and why.
    """

    model: dict[str, Any]
    settings: dict[str, Any]
    results: list[Result]
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"schema": SCHEMA, **asdict(self)}

    def save(self, path: Path) -> None:
        """Write `evaluation.json`, whole or not at all."""
        with atomic_write(path) as file:
            file.write(json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False).encode())

    def numbers(self) -> dict[str, float]:
        """All values by their keys."""
        return {result.key: result.value for result in self.results}

    def table(self) -> str:
        """A line a result."""
        return results_table(self.results)


def results_table(results: Sequence[Result]) -> str:
    """Results as aligned text, each with chance, standard error over items, ties and what was cut.

    >>> print(results_table([Result("blimp", "causal", "accuracy", 0.5731, 13400, 0.0042, 0.5, ties=2)]))
    task   read as  metric    value          chance  items   remarks
    -----  -------  --------  -------------  ------  ------  -------
    blimp  causal   accuracy  57.3 % +- 0.4  50.0 %  13,400  2 ties
    """
    rows: list[list[str]] = []
    task = reading = None
    for result in results:
        counts: Mapping[str, int] = {
            "ties": result.ties,
            "cut": result.truncated,
            "unknown tokens": result.unknown,
        }
        remarks = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
        again = task == result.task, (task, reading) == (result.task, result.reading)
        task, reading = result.task, result.reading
        rows.append(
            [
                "" if again[0] else task,
                "" if again[1] else reading,
                result.metric.replace("_", " "),
                _with_error(result),
                "" if result.chance is None else _format(result.metric, result.chance),
                f"{result.n:,}",
                remarks,
            ]
        )
    return format_table(("task", "read as", "metric", "value", "chance", "items", "remarks"), rows)


_SHARES = ("accuracy", "control_accuracy", "auc", "f1", "calibration_error")


def _format(metric: str, value: float) -> str:
    return f"{100 * value:.1f} %" if metric.startswith(_SHARES) else f"{value:.3f}"


def _with_error(result: Result) -> str:
    value = _format(result.metric, result.value)
    if result.item_se is None:
        return value
    share = result.metric.startswith(_SHARES)
    return f"{value} +- {100 * result.item_se:.1f}" if share else f"{value} +- {result.item_se:.3f}"
