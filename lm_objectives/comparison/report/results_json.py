"""A study as plain data, `results.json`: long tables that R and pandas read as they are."""

import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from lm_objectives.comparison.evidence.analysis import Analysis, LadderGain
from lm_objectives.comparison.evidence.claims import ClaimTest, Contrast
from lm_objectives.comparison.evidence.metrics import direction, split
from lm_objectives.comparison.evidence.statistics import Interval
from lm_objectives.comparison.records import PlanRecord, RunRecord
from lm_objectives.comparison.report.settings import settings_of, versions_of
from lm_objectives.comparison.report.terminal import verdict_lines
from lm_objectives.comparison.study import Study

SCHEMA = 1
"""Version of the layout of `results.json`; another number means that keys have other meanings."""

_TIMES = ("seconds",)


def to_data(study: Study, plan: PlanRecord, analysis: Analysis, warnings: list[str]) -> dict[str, Any]:
    """All that is known of a study; times and costs stand under `cost` alone.

    Returns:
        `numbers` has a row for each run and metric, `runs` one for each run, `arms` one for each arm, rung and metric,
        `claims` one for each claim, number and other arm.
    """
    return {
        "schema": SCHEMA,
        "name": study.name,
        "numbers": [row for record in analysis.table.records for row in _numbers(record)],
        "runs": [_run(record) for record in analysis.table.records],
        "arms": _arms(analysis),
        "claims": [_claim(test, contrast) for test in analysis.claims for contrast in test.contrasts],
        "verdicts": verdict_lines(plan, analysis),
        "gains": [row for gain in analysis.gains for row in _gain(gain)],
        "look": asdict(analysis.look),
        "study": asdict(study),
        "plan": {
            **_without(asdict(plan), "megabytes", "arms"),
            "arms": [_without(asdict(a), *_TIMES) for a in plan.arms],
        },
        "settings": settings_of(study, plan),
        "warnings": warnings,
        "versions": versions_of(analysis),
        "cost": _cost(plan, analysis),
    }


def _numbers(record: RunRecord) -> list[dict[str, Any]]:
    return [
        {
            "arm": record.arm,
            "seed": record.seed,
            "rung": record.rung,
            **dict(zip(("task", "reading", "metric"), split(number), strict=True)),
            "value": value,
            "item_se": record.item_se.get(number),
            "chance": record.chance.get(number),
        }
        for number, value in record.numbers.items()
    ]


def _run(record: RunRecord) -> dict[str, Any]:
    names = ("arm", "seed", "rung", "folder", "failed", "steps", "tokens", "flops", "parameters", "skipped", "device")
    curves = {name: _finite(points) for name, points in record.curves.items()}
    weights = {name: _finite(points) for name, points in record.weights.items()}
    long = {"versions": record.versions, "curves": curves, "weights": weights}
    return {name: getattr(record, name) for name in names} | long


def _finite(points: Iterable[tuple[float | int, float]]) -> list[tuple[float | int, float | None]]:
    """Points in which what is infinite or NaN, which JSON does not have, is `None`."""
    return [(place, value if math.isfinite(value) else None) for place, value in points]


def _arms(analysis: Analysis) -> list[dict[str, Any]]:
    rows = []
    for summary in analysis.numbers:
        for row in summary.arms:
            summed, minus = row.summary, row.minus_first
            rows.append(
                {
                    "number": summary.number,
                    "better": direction(summary.number),
                    "arm": row.arm,
                    "rung": row.rung,
                    "n": len(row.values),
                    "failed": len(row.failed),
                    "mean": summed and summed.mean,
                    "sd": summed and summed.sd,
                    **_ends("", summed.interval if summed else None),
                    "minus_first": minus and minus.mean,
                    **_ends("minus_first_", minus.interval if minus else None),
                    "item_se": row.item_se,
                }
            )
    return rows


def _claim(test: ClaimTest, contrast: Contrast) -> dict[str, Any]:
    claim, difference, wins = test.claim, contrast.difference, contrast.wins
    return {
        "kind": claim.kind,
        "arm": claim.arm,
        "other": contrast.other,
        "within": claim.within,
        "number": test.number,
        "seeds": list(contrast.seeds),
        "differences": [] if difference is None else list(difference.by_seed),
        "difference": difference and difference.mean,
        "sd": difference and difference.sd,
        **_ends("", difference.interval if difference else None),
        "t": difference and difference.t,
        "df": difference and difference.df,
        "correlation": difference and difference.correlation,
        "sign_flip_p": contrast.sign_flip_p,
        "won": wins and wins.won,
        "lost": wins and wins.lost,
        "tied": wins and wins.tied,
        "win_low": wins and wins.low,
        "item_se": contrast.item_se,
        "p": test.p,
        "holm_p": test.adjusted,
        "level": test.level,
        "outcome": test.outcome,
        "why_not": test.why_not,
        "failed_runs": {arm: failed for arm, (failed, _) in test.failed.items()},
        "could_show": test.could_show,
        "seeds_needed": test.needed,
    }


def _gain(gain: LadderGain) -> list[dict[str, Any]]:
    return [
        {
            "number": gain.number,
            "arm": gain.arm,
            "other": gain.other,
            "budget": rung.compute,
            "gain": rung.mean,
            **_ends("", rung.interval),
            "by_seed": list(rung.by_seed),
        }
        for rung in gain.rungs
    ]


def _cost(plan: PlanRecord, analysis: Analysis) -> dict[str, Any]:
    arms = [{"arm": arm.arm, "rung": arm.rung, "planned_training_seconds": arm.seconds} for arm in plan.arms]
    runs = [
        {"arm": run.arm, "seed": run.seed, "rung": run.rung, "seconds": run.seconds} for run in analysis.table.records
    ]
    return {"arms": arms, "runs": runs, "megabytes": plan.megabytes}


def _ends(prefix: str, interval: Interval | None) -> dict[str, float | None]:
    low, high = (None, None) if interval is None else (interval.low, interval.high)
    return {f"{prefix}low": low, f"{prefix}high": high}


def _without(data: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name not in names}
