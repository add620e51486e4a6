"""Log an evaluation's numbers and table with the loggers of a run."""

from collections.abc import Iterable
from pathlib import Path

from lightning.pytorch.loggers import Logger, WandbLogger

from lm_objectives.evaluation.results import Evaluation
from lm_objectives.training.loggers import Tracking

_COLUMNS = ("task", "reading", "metric", "value", "item_se", "chance", "n", "ties", "truncated", "unknown")


def log_evaluation(evaluation: Evaluation, loggers: Iterable[Logger], step: int) -> None:
    """Log all numbers as `evaluate/<task>/<reading>/<metric>`, and in Weights & Biases the table of results."""
    for logger in loggers:
        logger.log_metrics(evaluation.numbers(), step)
        if isinstance(logger, WandbLogger):
            rows = [[getattr(result, name) for name in _COLUMNS] for result in evaluation.results]
            logger.log_table("evaluate", [*_COLUMNS], rows, step=step)


def log_alone(evaluation: Evaluation, tracking: Tracking, root: Path) -> None:
    """Log an evaluation in Weights & Biases alone: in the run that a folder belongs to, or in one of its own."""
    loggers = [made for made in tracking.loggers(str(root), resumes=True) if isinstance(made, WandbLogger)]
    log_evaluation(evaluation, loggers, int(evaluation.model.get("steps") or 0))
    for logger in loggers:
        logger.experiment.finish()
