"""Studies and their runs as records, without any training."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lm_objectives.comparison.records import ArmPlan, Pairing, PlanRecord, RunRecord
from lm_objectives.comparison.study import Study
from lm_objectives.comparison.study_file import study_of

NATS = "held_out/causal/nats"
ACCURACY = "blimp/causal/accuracy"

GOLDEN = {
    "causal": [4.402, 4.415, 4.391, 4.420, 4.409],
    "mixed": [4.381, 4.402, 4.385, 4.393, 4.399],
    "masked": [4.450, 4.471, 4.439, 4.466, 4.452],
}
"""Nats of five seeds, of which scipy's paired tests are known."""

OBJECTIVES = {"causal": {"causal": 1.0}, "masked": {"masked": 1.0}}
BOTH = {"causal": 0.5, "masked": 0.5}


def make_study(claims: Sequence[Mapping[str, Any]] = (), arms: Iterable[str] = tuple(GOLDEN), **changes: Any) -> Study:
    """A study of arms that are named after what they learn; where they are a mapping, with their settings."""
    content: dict[str, Any] = {
        "base": "quickstart",
        "arms": dict(arms) if isinstance(arms, Mapping) else {arm: {} for arm in arms},
        "seeds": 5,
        "budget": {"flops": 1e13},
        "evaluate": {"tasks": ["held_out", "swaps", "blimp=blimp.jsonl"], "items": 200},
        "claims": list(claims),
        "tune": {"grid": {"model.optimizer.init_args.lr": [0.001, 0.002]}},
        "output": "studies/which_mix",
    }
    return study_of(content | changes, "study.yaml")


def make_plan(study: Study, **changes: Any) -> PlanRecord:
    """A plan without a warning, in which all arms are alike."""
    arms = [
        ArmPlan(arm, rung, OBJECTIVES.get(arm, BOTH), 600, 2.4e6, amount, 0.9, 1_000_000, 120.0, "Fixed")
        for rung, amount in enumerate(study.budget.amounts)
        for arm in study.arms
    ]
    objectives = {objective for arm in arms for objective in arm.objectives}
    having = {name: [arm for arm in study.arms if name in OBJECTIVES.get(arm, BOTH)] for name in sorted(objectives)}
    rows = {name: [group] for name, group in having.items() if len(group) > 1}
    plan = PlanRecord("1e13 FLOPs", arms, study.seed_list, Pairing([list(study.arms)], rows), tuning_runs=6)
    return replace(plan, **changes)


def make_run(arm: str, seed: int, numbers: Mapping[str, float], rung: int = 0, **changes: Any) -> RunRecord:
    """A run that measured these numbers."""
    record = RunRecord(
        arm,
        seed,
        rung,
        f"runs/{arm}/{seed}",
        numbers=dict(numbers),
        item_se=dict.fromkeys(numbers, 0.001),
        chance={number: 0.5 if number.endswith("accuracy") else 6.2 for number in numbers},
        steps=600,
        tokens=2_400_000,
        flops=1e13,
        parameters=1_000_000,
        seconds=130.0,
        device="cpu",
        versions={"torch": "2.12.0", "lm-objectives": "0.2.0"},
        curves={f"val/{arm}/loss": [(1e12, 5.5 + seed / 100), (1e13, 4.5)]},
        weights={"causal": [(0, 0.5), (600, 0.6)]} if arm == "mixed" else {},
    )
    return replace(record, **changes)


def make_runs(values: Mapping[str, Sequence[float]] = GOLDEN, number: str = NATS, **changes: Any) -> list[RunRecord]:
    """A run for each arm and seed."""
    return [
        make_run(arm, seed, {number: value}, **changes)
        for arm, of_arm in values.items()
        for seed, value in enumerate(of_arm)
    ]


def failing(runs: Sequence[RunRecord], arm: str, seed: int) -> list[RunRecord]:
    """The same runs, of which one has failed."""
    return [
        replace(run, failed="its loss was NaN at step 90", numbers={}) if (run.arm, run.seed) == (arm, seed) else run
        for run in runs
    ]
