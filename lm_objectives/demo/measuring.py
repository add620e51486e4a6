"""Loss and metrics on a text, which any objective has."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from lm_objectives.corruptions.random import derive_seed, row_keys
from lm_objectives.errors import InputError
from lm_objectives.objectives.base import Objective, baseline_metrics, combine_losses

if TYPE_CHECKING:
    from lm_objectives.demo.context import DemoContext

_ROWS = 16


def measured(objective: Objective, stage: "DemoContext") -> Iterator[str]:
    """Loss, its parts and metrics on the text's first rows, made as held-out ones are.

    Raises:
        ValueError: where the text is too short for a row.
    """
    corruption = objective.corruption.at_step(stage.module.steps, stage.module.steps).for_validation()
    text = stage.text.stream(corruption)
    spans = corruption.windows(text, stage.seq_len, packing=False)
    if not len(spans):
        raise InputError(
            f"expected a text with a row for {type(objective).__name__}, found none in it: give a longer text"
        )
    chosen = spans[np.arange(min(len(spans), _ROWS))]
    keys = row_keys(derive_seed("demo", stage.sampling.seed), np.arange(len(chosen)))
    rows = corruption.read_rows(text, chosen, keys, stage.seq_len, stage.vocabulary)
    view = objective.fill_in(corruption.corrupt(rows, stage.vocabulary), stage.backbone.embedding_parameters())
    outcome = objective.compute_loss(stage.hidden(view), view, stage.backbone.embedding)
    parts = {part: float(total) / max(view.counts[part], 1) for part, total in outcome.loss_sums.items()}
    values = {**parts, "loss": float(combine_losses(objective.loss_weights, outcome.loss_sums, view.counts))}
    baselines = baseline_metrics(objective)
    observed = {**outcome.metric_inputs, **{name: (view.targets,) for name in baselines}}
    for name, metric in {**objective.metrics(), **baselines}.items():
        if name in observed:
            metric.update(*observed[name])
            values[name] = float(metric.compute())
    width = max(map(len, values))
    for name, value in values.items():
        unit = " nats" if name == "loss" or name in objective.loss_weights else ""
        yield f"  {name:<{width}}  {value:.3f}{unit}"
