"""The plan of a study: steps, runs, pairing and remarks, against the definition of each."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from utils.small_corpus import ROWS, WINDOW

from lm_objectives.cli.experiments import READER
from lm_objectives.comparison.planning import plan
from lm_objectives.comparison.planning.describe import describe_plan
from lm_objectives.comparison.planning.plan import SCHEMA, StudyPlan, check_claims, make_plan, tuning_points
from lm_objectives.comparison.planning.planner import Planner, settings_hash
from lm_objectives.comparison.study import Study
from lm_objectives.comparison.study_file import study_of
from lm_objectives.errors import InputError
from lm_objectives.evaluation.evaluate import make_tasks

ARMS = {"causal": {"ratio": {"causal": 1}}, "mixed": {"ratio": {"causal": 1, "order": 1}}}


def study(place: Path, **changes: Any) -> Study:
    content = {
        "base": str(place / "tiny.yaml"),
        "arms": ARMS,
        "seeds": 2,
        "budget": {"steps_of": "causal", "steps": 8},
        "evaluate": {"tasks": ["held_out"]},
        "output": "out",
    }
    return study_of(content | changes, "study.yaml")


@pytest.fixture(autouse=True)
def half_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a step takes here; `test_timing` times for real."""
    monkeypatch.setattr(plan, "time_steps", lambda runs, *_: dict.fromkeys(runs, 0.5))


def plan_of(place: Path, **changes: Any) -> StudyPlan:
    return make_plan(Planner(study(place, **changes), READER, 1), {})


def test_every_arm_has_the_budget_to_half_a_step(place: Path) -> None:
    causal, mixed = plan_of(place).record.arms
    assert causal.steps == 8
    assert causal.flops and mixed.flops and abs(mixed.flops - causal.flops) <= mixed.flops / mixed.steps / 2


@pytest.mark.parametrize(
    ("budget", "steps"),
    [({"tokens": 10 * ROWS * WINDOW}, 10), ({"seconds": 7.2}, 14), ({"steps_of": "mixed", "steps": 5}, 5)],
)
def test_other_budgets(budget: dict[str, Any], steps: int, place: Path) -> None:
    """Oracle: tokens of a step, and half a second a step; rows of order are padded, so that its tokens are fewer."""
    [plan] = [
        plan for plan in plan_of(place, budget=budget).record.arms if plan.arm == budget.get("steps_of", "causal")
    ]
    assert plan.steps == pytest.approx(steps, abs=1)


def test_runs_go_seed_by_seed_over_rungs_and_arms(place: Path) -> None:
    runs = plan_of(place, budget={"steps_of": "causal", "steps": [4, 8]}, seeds=[7, 3]).runs()
    found = [(run.seed, run.rung, run.arm) for run in runs]
    assert found == [(seed, rung, arm) for seed in (7, 3) for rung in (0, 1) for arm in ("causal", "mixed")]
    assert len({run.folder for run in runs}) == len(runs)
    for run in runs:
        settings = run.settings
        assert settings["seed_everything"] == settings["data"]["seed"] == run.seed
        assert settings["data"]["split_seed"] == 0 and settings["tracking"]["group"] == "out"
        assert settings["evaluation"]["documents"] == "all"


def test_arms_of_one_family_begin_alike_and_read_alike(place: Path) -> None:
    """Another width begins otherwise, another mask rate reads otherwise; a share changes neither."""
    masks = {"model.objectives.masked.mask_rate": 0.5}
    arms = {
        "one": {"ratio": {"causal": 1, "masked": 1}},
        "two": {"ratio": {"causal": 3, "masked": 1}},
        "more": {"ratio": {"causal": 1, "masked": 1}, "set": masks},
        "wide": {"ratio": {"causal": 1}, "set": {"model.backbone.config.intermediate_size": 96}},
    }
    pairing = plan_of(place, arms=arms, budget={"tokens": 5000}).record.pairing
    assert pairing.same_start == [["one", "two", "more"], ["wide"]]
    assert pairing.same_rows["causal"] == [["one", "two", "more", "wide"]]
    assert pairing.same_rows["masked"] == [["one", "two"], ["more"]]


def test_what_has_to_be_said(place: Path) -> None:
    gradnorm = {"other": {"ratio": {"causal": 1, "order": 1}, "config": ["balancers/gradnorm", "optimizers/sgd"]}}
    record = plan_of(place, arms=ARMS | gradnorm).record
    said = "\n".join(record.warnings)
    assert "other: ratio sets the shares of the rows alone, the weights are GradNorm's" in said
    assert "arms have other optimizer settings than each other: unequal tuning" in said
    assert "equal FLOPs is not equal data: " in said
    text = describe_plan(record, "out")
    assert all(f"! {line}" in text for line in record.warnings)
    assert "6 runs" in text and "GradNorm" in text


def test_a_head_of_the_backbones_own_is_read_untrained(place: Path) -> None:
    """A masked head that predicts from the position before is the causal one; one of its own would be as it began."""
    before = {"set": {"model.objectives.masked.predict_from": "previous"}}
    arms = {"causal": {"ratio": {"causal": 1}} | before, "other": {"ratio": {"causal": 1}}}
    planner = Planner(study(place, arms=arms), READER, 1)
    assert planner.arm("causal", {}).readings == {"causal": True, "masked": False, "masked_word": False, "fused": False}
    assert planner.arm("other", {}).readings == {"causal": True}


def test_a_plan_that_is_known_is_taken(place: Path) -> None:
    """Oracle: the plan itself, by way of its file; another seed, setting or version is planned anew."""
    planner = Planner(study(place), READER, 1)
    made = make_plan(planner, {})
    kept = json.loads(json.dumps(made.to_dict()))
    known = StudyPlan.known(json.loads(json.dumps(kept)), planner.study, made.read)
    assert known is not None and vars(known) == vars(made)
    assert StudyPlan.known(kept, study(place, seeds=3), made.read) is None
    assert StudyPlan.known(kept, planner.study, made.read | {"mixed": settings_hash("x")}) is None
    assert StudyPlan.known(kept | {"version": "0.1"}, planner.study, made.read) is None
    assert StudyPlan.known(kept | {"schema": SCHEMA - 1}, planner.study, made.read) is None
    assert StudyPlan.known({}, planner.study, made.read) is None


def test_points_of_a_grid(place: Path) -> None:
    grid = {"grid": {"model.optimizer.lr": [1, 2], "data.seq_len": [8, 16]}}
    points = tuning_points(study(place, tune=grid), "mixed")
    assert [tuple(point.values()) for point in points] == [(1, 8), (1, 16), (2, 8), (2, 16)]
    assert tuning_points(study(place), "mixed") == []


def test_other_corpora_are_no_comparison(place: Path, tmp_path: Path) -> None:
    text = (place / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    (tmp_path / "other.jsonl").write_text("\n".join(text[:-1]), encoding="utf-8")
    arms = ARMS | {"other": {"set": {"data.corpus": str(tmp_path / "other.jsonl")}}}
    with pytest.raises(InputError, match="expected one corpus for all arms, found 2"):
        plan_of(place, arms=arms)


def test_each_arm_is_evaluated_by_the_readings_that_it_has(place: Path) -> None:
    """Oracle: the objectives of the arms; one that has none of them is refused."""
    plan = plan_of(place, evaluate={"tasks": ["held_out"], "readings": ["causal", "order"]})
    found = {run.arm: run.settings["evaluation"]["readings"] for run in plan.runs()}
    assert found == {"causal": ["causal"], "mixed": ["causal", "order"]}
    with pytest.raises(InputError, match=r"^expected a reading of arm causal in evaluate\.readings, found order: arm "):
        plan_of(place, evaluate={"tasks": ["held_out"], "readings": ["order"]})


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A task of labelled texts."""
    rows = [
        {"text": f"It rained {n} times.", "label": str(n % 2), "split": s} for n in range(4) for s in ("train", "test")
    ]
    file = tmp_path_factory.mktemp("labels") / "weather.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return f"weather={file}"


OF_STATES = [
    "probes/order/bidirectional_layer_2",
    "probes/length/causal_layer_1",
    "weather/causal_layer_1",
    "weather/fine_tuned_last_token",
]


@pytest.fixture(scope="module")
def claimed(place: Path, labels: str) -> Callable[[Sequence[str]], None]:
    """Check claims on numbers, of arms that are read once."""
    planner = Planner(study(place), READER, 1)
    arms = {name: planner.arm(name, {}) for name in ARMS}

    def check(numbers: Sequence[str]) -> None:
        claims = [{"better": "mixed", "than": "causal", "on": [*numbers]}]
        asked = study(place, evaluate={"tasks": ["probes", labels], "readings": ["order"]}, claims=claims)
        check_claims(asked, make_tasks(asked.evaluate.tasks), arms)

    return check


def test_claims_may_be_on_states(claimed: Callable[[Sequence[str]], None]) -> None:
    """Oracle: the readings that probes and fine-tuned models have; the heads' own readings do not concern them."""
    claimed(OF_STATES)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        ("probes/order/causal_layer_1/f1", "expected accuracy in probes/order/causal_layer_1/f1, found f1"),
        ("weather/causal_layer_9", "expected a reading of arm mixed in weather/causal_layer_9, found causal_layer_9"),
        ("weather/fine_tuned_head", "expected a reading of arm mixed in weather/fine_tuned_head, found fine_tuned_h"),
        ("weather/causal", "expected a reading of arm mixed in weather/causal, found causal: there are causal_layer_1"),
    ],
)
def test_claims_on_states_that_there_are_none_of(
    claimed: Callable[[Sequence[str]], None], number: str, message: str
) -> None:
    """Oracle: the message."""
    with pytest.raises(InputError, match=f"^{message}"):
        claimed([number])
