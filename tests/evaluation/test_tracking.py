"""An evaluation in Weights & Biases: numbers in the run's summary, and a table; in the run that a folder belongs to."""

import json
from pathlib import Path

import pytest
from lightning.pytorch.loggers import WandbLogger

from lm_objectives.evaluation.results import Evaluation, Result
from lm_objectives.evaluation.tracking import log_alone, log_evaluation
from lm_objectives.training.loggers import RunCSVLogger, Tracking

EVALUATION = Evaluation(
    {"steps": 3}, {}, [Result("own", "causal", "accuracy", 0.75, 8, 0.1, 0.5), Result("own", "causal", "nats", 2.5, 8)]
)


@pytest.mark.slow
def test_numbers_and_table_are_in_the_offline_run(tmp_path: Path) -> None:
    [table, logger] = Tracking().loggers(str(tmp_path), resumes=False)
    assert isinstance(table, RunCSVLogger) and isinstance(logger, WandbLogger)
    log_evaluation(EVALUATION, [table, logger], 2)
    summary = dict(logger.experiment.summary)
    assert summary["evaluate/own/causal/accuracy"] == 0.75 and summary["evaluate/own/causal/nats"] == 2.5
    [file] = tmp_path.rglob("*.table.json")
    rows = json.loads(file.read_text(encoding="utf-8"))
    assert rows["data"][0][:4] == ["own", "causal", "accuracy", 0.75]
    assert [row["evaluate/own/causal/nats"] for row in table.table.read()] == ["2.5"]
    identity = logger.experiment.id
    logger.experiment.finish()
    (tmp_path / "wandb_id.txt").write_text(identity, encoding="utf-8")
    log_alone(EVALUATION, Tracking(), tmp_path)
    assert {file.stem for file in tmp_path.rglob("offline-run-*/*.wandb")} == {f"run-{identity}"}


def test_off_logs_nothing(tmp_path: Path) -> None:
    log_alone(EVALUATION, Tracking(wandb="off"), tmp_path)
    assert not [*tmp_path.iterdir()]
