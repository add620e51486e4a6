"""Each warning of a study by its smallest case; the oracle of each is the line."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from utils.study_cases import ACCURACY, GOLDEN, NATS, make_plan, make_run, make_runs, make_study

from lm_objectives.comparison.records import Pairing, PlanRecord, RunRecord
from lm_objectives.comparison.report.warnings import all_warnings, warnings_of
from lm_objectives.comparison.study import Study

CLAIM = {"better": "mixed", "than": "causal", "on": "held_out/causal"}
BLIMP = {"better": "mixed", "than": "causal", "on": "blimp/causal"}


def _warnings(
    study: Study | None = None, plan: PlanRecord | None = None, runs: Sequence[RunRecord] | None = None
) -> list[str]:
    study = study or make_study()
    return warnings_of(study, plan or make_plan(study), make_runs() if runs is None else runs)


def _changed(arm: str, **changes: Any) -> list[RunRecord]:
    return [replace(run, **changes) if run.arm == arm else run for run in make_runs()]


def test_a_study_without_fault_has_none() -> None:
    """Oracle: an empty list."""
    assert _warnings(make_study(claims=[CLAIM])) == []


@pytest.mark.parametrize(
    ("seeds", "line"),
    [
        (1, "1 seed: a run tells little of its arm, and nothing is decided below 3"),
        (2, "2 seeds: a run tells little of its arm, and nothing is decided below 3"),
        (3, "3 seeds show only differences of 3.3 sd of the differences or more (with 80 %)"),
        (4, "4 seeds show only differences of 2.1 sd of the differences or more (with 80 %)"),
    ],
)
def test_few_seeds(seeds: int, line: str) -> None:
    """Oracle: the line, with the smallest detectable difference of the design's table."""
    assert _warnings(make_study(seeds=seeds), runs=[run for run in make_runs() if run.seed < seeds]) == [line]


def test_seeds_that_are_missing_or_added() -> None:
    """Oracle: the lines."""
    assert _warnings(runs=[run for run in make_runs() if run.seed < 4]) == ["4 of 5 seeds are done"]
    added = [*make_runs(), *(make_run(arm, seed, {NATS: 4.4}) for arm in GOLDEN for seed in (5, 6))]
    line = "seeds 5, 6 came on top of the plan: shown with the others, but no verdict uses them"
    assert _warnings(runs=added) == [line]


def test_tuning() -> None:
    """Oracle: the line of the plan, so that it is said once."""
    assert _warnings(make_study(tune=None)) == ["settings were not tuned per arm"]
    assert _warnings(make_study(arms=["causal"], tune=None), runs=make_runs({"causal": GOLDEN["causal"]})) == []


def test_before_the_first_run() -> None:
    """Property: the plan's lines alone, since the command shows them with the plan."""
    assert _warnings(make_study(claims=[CLAIM, BLIMP]), runs=[]) == []
    [line] = _warnings(make_study(seeds=2), runs=[])
    assert line.startswith("2 seeds")


def test_parameters() -> None:
    """Oracle: the line above 1 %, none below."""
    assert _warnings(runs=_changed("mixed", parameters=1_009_000)) == []
    line = "arms differ in parameters by up to 2 %: causal 1.00 M, mixed 1.02 M, masked 1.00 M"
    assert _warnings(runs=_changed("mixed", parameters=1_020_000)) == [line]


def test_epochs() -> None:
    """Oracle: the line."""
    plan = make_plan(make_study())
    plan = replace(plan, arms=[replace(arm, epochs=2.6 if arm.arm == "masked" else 0.9) for arm in plan.arms])
    line = "the text is read more than once, and mixes gain from repeated text: epochs of "
    assert _warnings(plan=plan) == [f"{line}causal 0.9, mixed 0.9, masked 2.6"]


def test_pairing() -> None:
    """Oracle: the lines, for other first weights and for other rows."""
    plan = make_plan(
        make_study(), pairing=Pairing([["causal", "mixed"], ["masked"]], {"masked": [["mixed", "masked"]]})
    )
    line = "arms of a seed do not all start from the same weights (causal, mixed | masked): seeds pair them less"
    assert _warnings(plan=plan) == [line]
    plan = make_plan(make_study(), pairing=Pairing([[*GOLDEN]], {"masked": [["mixed"], ["masked"]]}))
    assert _warnings(plan=plan) == [
        "arms of a seed read different rows of masked (mixed | masked): seeds pair them less"
    ]


def test_a_number_that_an_arm_cannot_have() -> None:
    """Oracle: the lines, for all runs of an arm and for some."""
    line = "masked does not have all numbers, – in the tables: none of held_out/causal"  # noqa: RUF001
    assert _warnings(runs=_changed("masked", numbers={})) == [line]
    runs = [replace(run, numbers={}) if (run.arm, run.seed) == ("masked", 1) else run for run in make_runs()]
    assert _warnings(runs=runs) == ["held_out, read as causal is missing in 1 of 5 runs of masked"]


@pytest.mark.parametrize("seeds", [1, 5])
def test_all_arms_at_chance(seeds: int) -> None:
    """Oracle: the line where no arm's interval is above chance, none where one is."""
    study = make_study(claims=[BLIMP], seeds=seeds)
    noise = [0.501, 0.497, 0.502, 0.499, 0.503][:seeds]
    line = "all arms are at chance or worse on blimp, read as causal: a claim on it compares noise"
    found = _warnings(study, runs=make_runs(dict.fromkeys(GOLDEN, noise), ACCURACY))
    assert line in found
    better = make_runs({**dict.fromkeys(GOLDEN, noise), "mixed": [value + 0.1 for value in noise]}, ACCURACY)
    assert line not in _warnings(study, runs=better)


def test_chance_of_nats_is_above() -> None:
    """Property: nats below those of knowing nothing are better than chance, nats above are not."""
    study = make_study(claims=[CLAIM])
    assert _warnings(study) == []
    chance = {NATS: 4.0}
    runs = [replace(run, chance=chance) for run in make_runs()]
    assert _warnings(study, runs=runs) == [
        "all arms are at chance or worse on held_out, read as causal: a claim on it compares noise"
    ]


def test_machines() -> None:
    """Oracle: the lines."""
    assert _warnings(runs=_changed("mixed", device="cuda")) == ["runs were evaluated on different devices: cpu, cuda"]
    versions = {"torch": "2.13.0", "lm-objectives": "0.2.0"}
    assert _warnings(runs=_changed("mixed", versions=versions)) == [
        "runs have different versions of torch: 2.12.0, 2.13.0"
    ]


def test_skipped_steps() -> None:
    """Oracle: the line."""
    runs = [replace(run, skipped=3) if (run.arm, run.seed) == ("mixed", 0) else run for run in make_runs()]
    assert _warnings(runs=runs) == ["mixed left out 3 optimizer steps, infinite or NaN, in 1 of 5 runs"]


@pytest.mark.parametrize(
    ("items", "mend"), [(200, "raise evaluate.items"), (0, "more items would help, but all are used")]
)
def test_items_that_vary_more_than_seeds(items: int, mend: str) -> None:
    """Oracle: the line where twice the square of the item error is above that of the differences' sd, .0085."""
    study = make_study(claims=[CLAIM], evaluate={"tasks": ["held_out"], "items": items})
    line = f"held_out, read as causal of mixed and causal varies more by items than by seeds: {mend}"
    for error, expected in ((0.0059, []), (0.0061, [line])):
        assert _warnings(study, runs=[replace(run, item_se={NATS: error}) for run in make_runs()]) == expected


def test_each_line_once() -> None:
    """Property: what the plan says already is not said again, and its own lines stand first."""
    study = make_study(tune=None)
    [line] = _warnings(study)
    plan = make_plan(study, warnings=["equal FLOPs is not equal data", line])
    assert all_warnings(study, plan, make_runs()) == ["equal FLOPs is not equal data", line]
