"""A study in Weights & Biases: one run in the group of its trainings, with a table of numbers and one of claims."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from lm_objectives.comparison.records import RunRecord
from lm_objectives.comparison.tracking import log_study

RECORDS = [
    RunRecord("causal", 0, 0, "runs/causal/0", numbers={"own/causal/nats": 2.5, "own/causal/accuracy": 0.75},
              item_se={"own/causal/accuracy": 0.1}),
    RunRecord("masked", 0, 0, "runs/masked/0", failed="it diverged"),
]  # fmt: skip
CLAIMS = [{"arm": "causal", "other": "masked", "difference": None, "outcome": "no verdict", "seeds": [0, 1]}]


def tables(folder: Path) -> dict[str, dict[str, Any]]:
    """The tables of the run, by their names."""
    found = {}
    for file in folder.rglob("*.table.json"):
        found[file.name.split("_")[0]] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _written(file: Path) -> bytes:
    """A run's record, which the process that writes it may finish a moment after the run."""
    end = time.monotonic() + 30
    while b"summary" not in file.read_bytes() and time.monotonic() < end:
        time.sleep(0.1)
    return file.read_bytes()


@pytest.mark.slow
def test_numbers_and_claims_are_tables_of_one_offline_run(tmp_path: Path) -> None:
    """Oracle: the rows, written out; the summary that is logged again is the same run."""
    log_study("which_mix", "mixes", "offline", RECORDS, CLAIMS, tmp_path)
    found = tables(tmp_path)
    assert found["numbers"]["columns"] == ["arm", "seed", "rung", "number", "value", "item_se", "failed"]
    assert found["numbers"]["data"] == [
        ["causal", 0, 0, "own/causal/nats", 2.5, None, None],
        ["causal", 0, 0, "own/causal/accuracy", 0.75, 0.1, None],
        ["masked", 0, 0, None, None, None, "it diverged"],
    ]
    assert found["claims"]["columns"] == list(CLAIMS[0])
    assert found["claims"]["data"] == [["causal", "masked", None, "no verdict", "[0, 1]"]]
    [file] = tmp_path.rglob("offline-run-*/*.wandb")
    assert all(word in _written(file) for word in (b"which_mix", b"summary", b"mixes"))
    log_study("which_mix", "mixes", "offline", RECORDS, [], tmp_path)
    identity = (tmp_path / "wandb_id.txt").read_text(encoding="utf-8").strip()
    assert {file.stem for file in tmp_path.rglob("offline-run-*/*.wandb")} == {f"run-{identity}"}


def test_off_logs_nothing(tmp_path: Path) -> None:
    log_study("which_mix", "mixes", "off", RECORDS, CLAIMS, tmp_path)
    assert not [*tmp_path.iterdir()]
