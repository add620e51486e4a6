"""Accumulate held-out losses, metrics and baselines of all objectives."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from lm_objectives.objectives.base import LossOutput, Objective, baseline_metrics
from lm_objectives.objectives.metrics import Mean
from lm_objectives.views import View


class ValidationMetrics(nn.Module):
    """The metrics of each objective over a validation pass, summed over all ranks by torchmetrics.

    Args:
        objectives: by name, after their `setup`.

    Attributes:
        metrics: by objective, a mean for each part of its loss, and its metrics.
        baselines: by objective, what constant predictions reach.
    """

    def __init__(self, objectives: Mapping[str, Objective]) -> None:
        super().__init__()
        self.loss_weights = {name: dict(objective.loss_weights) for name, objective in objectives.items()}
        self.metrics: Any = nn.ModuleDict(
            {
                name: nn.ModuleDict({**{part: Mean() for part in objective.loss_weights}, **objective.metrics()})
                for name, objective in objectives.items()
            }
        )
        self.baselines: Any = nn.ModuleDict({n: nn.ModuleDict(baseline_metrics(o)) for n, o in objectives.items()})

    def names(self) -> list[str]:
        """The names of all numbers but the baselines, `val/<objective>/<metric>`."""
        return [f"val/{name}/{key}" for name, metrics in self.metrics.items() for key in {**metrics, "loss": None}]

    def update(self, views: Mapping[str, View], outputs: Mapping[str, LossOutput]) -> None:
        """Add what a batch's views gave."""
        for name, output in outputs.items():
            view, metrics = views[name], self.metrics[name]
            for part, total in output.loss_sums.items():
                metrics[part].update(total / max(view.counts[part], 1), weight=view.counts[part])
            for metric, arguments in output.metric_inputs.items():
                metrics[metric].update(*arguments)
            for baseline in self.baselines[name].values():
                baseline.update(view.targets)

    def compute(self, on_any_rank: Callable[[bool], bool]) -> dict[str, float]:
        """All numbers, `val/<objective>/<metric>`, of the objectives that had rows; then start anew.

        Args:
            on_any_rank: whether something is true on at least one rank: those without rows must take part.
        """
        values: dict[str, float] = {}
        for name, weights in self.loss_weights.items():
            metrics = {**self.metrics[name], **self.baselines[name]}
            if on_any_rank(any(metric.update_called for metric in metrics.values())):
                own = {key: float(metric.compute()) for key, metric in metrics.items()}
                own["loss"] = sum(weight * own[part] for part, weight in weights.items())
                values |= {f"val/{name}/{key}": value for key, value in own.items()}
            for metric in metrics.values():
                metric.reset()
        return values
