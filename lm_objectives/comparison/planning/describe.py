"""A plan as text: what `--dry_run` prints, and every start does."""

import json
from collections.abc import Iterable

from lm_objectives.comparison.records import Pairing, PlanRecord
from lm_objectives.tables import format_table

_HEADINGS = (
    *("arm", "objectives", "rows", "balancer", "GFLOP a step", "steps", "tokens", "epochs", "FLOPs"),
    *("parameters", "minutes"),
)


def describe_plan(plan: PlanRecord, name: str) -> str:
    """The plan as text: a line an arm, the sum, pairing, and the warnings."""
    rows = []
    for arm in plan.arms:
        least = min(arm.objectives.values())
        rows.append(
            [
                arm.arm,
                ", ".join(arm.objectives),
                ":".join(f"{value / least:.3g}" for value in arm.objectives.values()),
                arm.balancer,
                "-" if arm.flops is None else f"{arm.flops / arm.steps / 1e9:.4g}",
                f"{arm.steps:,}",
                f"{arm.tokens / 1e6:.3g} M",
                f"{arm.epochs:.2g}",
                "-" if arm.flops is None else f"{arm.flops:.4g}",
                f"{arm.parameters / 1e6:.3g} M",
                "-" if arm.seconds is None else f"{arm.seconds / 60:.2g}",
            ]
        )
    runs = len(plan.arms) * len(plan.seeds)
    minutes = sum(arm.seconds or 0 for arm in plan.arms) * len(plan.seeds) / 60
    flops = sum(arm.flops or 0 for arm in plan.arms) * len(plan.seeds)
    before = f"; {plan.tuning_runs} more before it, to tune settings" if plan.tuning_runs and not plan.chosen else ""
    threads = f"{plan.threads} thread{'s' * (plan.threads > 1)}"
    lines = [
        f"{name}: {plan.budget} for each arm",
        "",
        format_table(_HEADINGS, rows),
        "",
        f"{runs} runs, {flops:.3g} FLOPs, about {minutes:.0f} minutes of training here one after another, by ten timed "
        f"steps of each arm, {threads} a run, {plan.megabytes or 0:.0f} MB{before}",
        f"same split, held-out rows and tokenizer for all; {_describe_pairing(plan.pairing)}",
        *(f"{name} tuned: {json.dumps(values)}" for name, values in plan.chosen.items() if values),
    ]
    return "\n".join([*lines, *(f"! {warning}" for warning in plan.warnings)])


def _describe_pairing(pairing: Pairing) -> str:
    starts = [", ".join(group) for group in pairing.same_start if len(group) > 1]
    rows = [f"{name} in {', '.join(_largest(groups))}" for name, groups in pairing.same_rows.items()]
    start = f"same start of the backbone: {'; '.join(starts)}" if starts else "no start in common"
    same = f"same rows of {'; '.join(rows)}" if rows else "no rows in common"
    return f"{start}; {same}"


def _largest(groups: Iterable[list[str]]) -> list[str]:
    return max(groups, key=len)
