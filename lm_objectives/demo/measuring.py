"""Loss and metrics on a text, which any objective has."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from lm_objectives.corruption.keyed import domain, row_keys
from lm_objectives.objectives.base import Objective, baselines_of, loss_of

if TYPE_CHECKING:
    from lm_objectives.demo.stage import Stage

_ROWS = 16


def measured(objective: Objective, stage: "Stage") -> Iterator[str]:
    """Loss, its parts and metrics on the text's first rows, made as held-out ones are.

    Raises:
        ValueError: where the text is too short for a row.
    """
    corruption = objective.corruption.at(stage.module.steps, stage.module.steps).validating()
    text = stage.text.stream(corruption)
    spans = corruption.spans(text, stage.window, packing=False)
    if not len(spans):
        raise ValueError(
            f"expected a text with a row for {type(objective).__name__}, found none in it: give a longer text"
        )
    chosen = spans[np.arange(min(len(spans), _ROWS))]
    keys = row_keys(domain("demo", stage.sampling.seed), np.arange(len(chosen)))
    rows = corruption.read(text, chosen, keys, stage.window, stage.vocabulary)
    view = objective.complete(corruption.corrupt(rows, stage.vocabulary), stage.backbone.embeddings())
    outcome = objective.score(stage.hidden(view), view, stage.backbone.embedding)
    parts = {part: float(total) / max(view.counts[part], 1) for part, total in outcome.sums.items()}
    values = {**parts, "loss": float(loss_of(objective.parts, outcome.sums, view.counts))}
    baselines = baselines_of(objective)
    observed = {**outcome.observed, **{name: (view.targets,) for name in baselines}}
    for name, metric in {**objective.metrics(), **baselines}.items():
        if name in observed:
            metric.update(*observed[name])
            values[name] = float(metric.compute())
    width = max(map(len, values))
    for name, value in values.items():
        unit = " nats" if name == "loss" or name in objective.parts else ""
        yield f"  {name:<{width}}  {value:.3f}{unit}"
