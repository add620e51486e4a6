"""Read what a study's runs came to from their folders."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lm_objectives.comparison.records import RunRecord
from lm_objectives.comparison.running.study_run import SPENT, StudyRun
from lm_objectives.errors import InputError
from lm_objectives.evaluation.results import SCHEMA
from lm_objectives.training.loggers import MetricsTable


def collect(runs: Iterable[StudyRun]) -> list[RunRecord]:
    """The records of the runs that are done or failed, in their order.

    Raises:
        InputError: for results of another version.
    """
    return [_record(run) for run in runs if run.is_done()]


def _record(run: StudyRun) -> RunRecord:
    seconds = run.path / SPENT
    spent = float(seconds.read_text(encoding="utf-8")) if seconds.is_file() else 0.0
    rows = MetricsTable(run.path / "metrics.csv").read()
    skipped = max((float(row["train/skipped"]) for row in rows if row.get("train/skipped")), default=0.0)
    found = RunRecord(run.arm, run.seed, run.rung, run.folder, run.failure(), seconds=spent, skipped=int(skipped))
    if found.failed is not None:
        return found
    results = _checked(run.result(), run.path)
    model, settings = results["model"], results["settings"]
    numbers = {f"{one['task']}/{one['reading']}/{one['metric']}": one for one in results["results"]}
    return RunRecord(
        arm=run.arm,
        seed=run.seed,
        rung=run.rung,
        folder=run.folder,
        numbers={key: one["value"] for key, one in numbers.items()},
        item_se={key: one["item_se"] for key, one in numbers.items() if one["item_se"] is not None},
        chance={key: one["chance"] for key, one in numbers.items() if one["chance"] is not None},
        steps=model["steps"],
        tokens=model["tokens"],
        flops=float(model["flops"] or 0),
        parameters=model["parameters"],
        seconds=spent,
        skipped=int(skipped),
        device=settings["device"],
        versions=settings["versions"],
        curves=_curves(rows),
        weights=_weights(rows),
    )


def _checked(results: dict[str, Any], folder: Path) -> dict[str, Any]:
    if results.get("schema") != SCHEMA:
        raise InputError(
            f"expected results of schema {SCHEMA} in {folder}, found {results.get('schema')}: remove result.json, and "
            "the same command evaluates anew"
        )
    return results


def _curves(rows: Iterable[dict[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """Held-out losses by the FLOPs that were done when they were measured."""
    found: dict[str, list[tuple[float, float]]] = {}
    flops = 0.0
    for row in rows:
        flops = float(row.get("train/flops") or flops)
        for key, value in row.items():
            if key.startswith("val/") and key.endswith("/loss"):
                found.setdefault(key, []).append((flops, float(value)))
    return found


def _weights(rows: Iterable[dict[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        for key, value in row.items():
            if key.startswith("train/") and key.endswith("/weight"):
                found.setdefault(key.split("/")[1], []).append((int(row["step"]), float(value)))
    return found
