"""A study's settings in words."""

from lm_objectives.comparison.evidence.analysis import Analysis
from lm_objectives.comparison.records import PlanRecord
from lm_objectives.comparison.study import Arm, Study
from lm_objectives.comparison.wording import listed


def settings_of(study: Study, plan: PlanRecord) -> dict[str, str]:
    """What was set, by its name in words."""
    evaluated = study.evaluate
    said = {
        "base": ", ".join(study.base),
        **{f"arm {name}": _arm(name, arm, plan) for name, arm in study.arms.items()},
        "budget": plan.budget,
        "seeds": ", ".join(map(str, plan.seeds)),
        "looks": ", ".join(map(str, study.looks)) if study.looks else "one, at the end",
        "tasks": ", ".join(evaluated.tasks),
        "readings": ", ".join(evaluated.readings) if evaluated.readings else "all that an arm has",
        "items of each group": f"{evaluated.items:,} at most" if evaluated.items else "all",
        "precision of the evaluation": evaluated.precision,
        "tuning": f"{plan.tuning_runs} runs before the study" if study.tune else "none",
        **{f"chosen for {arm}": _pairs(chosen) for arm, chosen in plan.chosen.items()},
        "same start": "; ".join(", ".join(group) for group in plan.pairing.same_start),
        **{
            f"same rows of {name}": "; ".join(map(", ".join, groups)) for name, groups in plan.pairing.same_rows.items()
        },
        "CPU threads of a run": str(plan.threads),
    }
    return {name: value or "none" for name, value in said.items()}


def versions_of(analysis: Analysis) -> dict[str, list[str]]:
    """The versions that runs had, by package; one where all had the same."""
    found: dict[str, set[str]] = {}
    for run in analysis.table.records:
        for package, version in run.versions.items():
            found.setdefault(package, set()).add(version)
    return {package: sorted(found[package]) for package in sorted(found)}


def _arm(name: str, arm: Arm, plan: PlanRecord) -> str:
    planned = next((found for found in reversed(plan.arms) if found.arm == name), None)
    parts = []
    if planned is not None:
        rows = listed([f"{part:g} {objective}" for objective, part in planned.objectives.items()])
        parts.append(
            f"rows of {rows}, {planned.balancer}, {planned.steps:,} steps, {planned.tokens / 1e6:.3g} M tokens"
        )
    parts += [f"with {', '.join(arm.config)}"] if arm.config else []
    parts += [_pairs(arm.set)] if arm.set else []
    return "; ".join(parts) or "the base"


def _pairs(settings: dict[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items())
