"""A study's file: the design's example is read as it stands, and each fault is one line that names its key."""

from pathlib import Path
from typing import Any

import pytest

from lm_objectives.comparison.study import ArmAt
from lm_objectives.comparison.study_file import read_study, study_of
from lm_objectives.errors import InputError
from lm_objectives.strict_yaml import load_yaml

WHOLE = """
base: [recipes/gpt_bert]
arms:
  causal: {ratio: {causal: 1}}
  masked: {ratio: {masked: 1}}
  mixed: {ratio: {causal: 1, masked: 1}}
  gradnorm: {config: balancers/gradnorm, ratio: {causal: 1, masked: 1}}
  wide: {set: {model.backbone.config.hidden_size: 192}}
  as_it_is:
seeds: 5
budget: {steps_of: causal, steps: [300, 600]}
evaluate: {tasks: [held_out, swaps, blimp=/data/blimp.jsonl.gz], items: 200}
claims:
  - {better: mixed, than: [causal, masked], on: blimp/causal}
  - {better: mixed, than: masked@0.5, on: [held_out/masked/nats, swaps/masked]}
  - {equal: gradnorm, to: mixed, on: held_out/causal/nats, within: 0.02}
  - {not_worse: mixed, than: causal, on: held_out/causal, within: 0.02}
tune: {grid: {model.optimizer.lr: [0.0015, 0.003, 0.006]}}
looks: [3, 5]
output: studies/which_mix
"""


def whole() -> dict[str, Any]:
    return load_yaml(WHOLE, "study.yaml")


def test_a_whole_study(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(WHOLE, encoding="utf-8")
    study = read_study(tmp_path / "study.yaml")
    assert study == study_of(whole(), "study.yaml")
    assert study.seed_list == [0, 1, 2, 3, 4] and study.name == "which_mix"
    assert study.budget.kind == "steps" and study.budget.amounts == [300.0, 600.0]
    assert study.arms["gradnorm"].config == ["balancers/gradnorm"] and study.arms["as_it_is"].ratio is None
    assert [claim.kind for claim in study.claims] == ["better", "better", "equal", "not_worse"]
    assert study.claims[1].others == ["masked@0.5"] and study.claims[2].others == ["mixed"]


@pytest.mark.parametrize("text", ["masked@2", "masked@0", "masked@x", "masked@", "masked@nan"])
def test_a_part_that_is_none(text: str) -> None:
    with pytest.raises(InputError, match="expected a part of the budget above 0, at most 1, in masked@"):
        ArmAt.parse(text)


WRONG: dict[str, tuple[str, Any, str]] = {
    "an unknown key": ("arm", 3, "known keys in study.yaml, found arm: did you mean arms?"),
    "an unknown key of an arm": ("arms.causal.rato", 3, "found arms.causal.rato: did you mean ratio?"),
    "no arms": ("arms", {}, "arms in study.yaml to have something in it"),
    "arms as a list": ("arms", ["causal"], "arms in study.yaml to be a mapping"),
    "a ratio below 0": ("arms.causal.ratio.causal", -1, "arms.causal.ratio.causal in study.yaml to be greater than 0"),
    "a ratio that is nan": ("arms.causal.ratio.causal", float("nan"), "arms.causal.ratio.causal in study.yaml to be"),
    "a name with a slash": ("arms.a/b", {}, "names of arms in study.yaml of letters"),
    "no seeds": ("seeds", 0, "seeds in study.yaml"),
    "seeds that are words": ("seeds", "five", "seeds in study.yaml"),
    "a seed twice": ("seeds", [0, 1, 0], "each seed once in study.yaml"),
    "a seed for tuning": ("seeds", [1_000_000], "seeds below 1,000,000 in study.yaml"),
    "two budgets": ("budget.flops", 1e12, "one of flops, tokens, seconds, or steps"),
    "no budget": ("budget", {}, "one of flops, tokens, seconds, or steps"),
    "steps of nobody": ("budget", {"steps": 3}, "steps and steps_of together"),
    "steps of an unknown arm": ("budget.steps_of", "cusal", "an arm for budget.steps_of .* did you mean causal?"),
    "an infinite budget": ("budget", {"flops": float("inf")}, "budget.flops.0 in study.yaml to be a finite number"),
    "a rung twice": ("budget.steps", [3, 3], "each amount of the budget once"),
    "no tasks": ("evaluate.tasks", [], "evaluate.tasks in study.yaml to have something in it"),
    "items below 0": ("evaluate.items", -1, "evaluate.items in study.yaml to be greater"),
    "an unknown arm in a claim": ("claims.0.better", "mixd", "an arm for a claim of study.yaml, .* mean mixed?"),
    "a claim on an unknown task": ("claims.0.on", "blip/causal", "a task of evaluate.tasks for blip/causal"),
    "a claim on no number": ("claims.0.on", "blimp", "in a claim of .*: expected a number as task/reading/metric"),
    "a claim without an other": ("claims.0.than", [], "than with better in a claim of study.yaml, found none"),
    "a claim with a margin": ("claims.0.within", 0.1, "no within with better"),
    "equal without a margin": ("claims.2.within", None, "a within with equal"),
    "a claim of itself": ("claims.0.than", "mixed", "arms that differ in a claim"),
    "two claims in one": ("claims.0.equal", "mixed", "one of better, equal and not_worse"),
    "a rung that is not there": ("claims.0.than", "causal@0.25", "a rung of 0.25 of the largest budget"),
    "tuning of two kinds": ("tune.arms", {"causal": [{}]}, "grid or arms in tune of study.yaml, found both"),
    "tuning of some arms": ("tune", {"arms": {"causal": [{}]}}, "a list for every arm in tune.arms"),
    "looks that end early": ("looks", [2, 4], "looks in study.yaml that rise to the 5 seeds"),
    "no output": ("output", None, "output in study.yaml to be a valid string"),
}


@pytest.mark.parametrize("case", WRONG)
def test_each_fault_is_one_line(case: str) -> None:
    key, value, line = WRONG[case]
    content = whole()
    *above, last = key.split(".")
    place: Any = content
    for part in above:
        place = place[int(part) if isinstance(place, list) else part]
    place[last] = value
    with pytest.raises(InputError, match=line) as caught:
        study_of(content, "study.yaml")
    assert "\n" not in str(caught.value)


def test_arms_that_are_tuned_unequally() -> None:
    content = whole()
    content["tune"] = {"arms": {name: [{}] for name in content["arms"]}}
    content["tune"]["arms"]["mixed"] = [{}, {"model.optimizer.lr": 0.1}]
    with pytest.raises(InputError, match="the same number of runs for each arm in tune of"):
        study_of(content, "study.yaml")


@pytest.mark.parametrize("text", ["", "[1]", "a: [", "a: 1\na: 2"])
def test_what_is_no_study(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"expected .*a\.yaml") as caught:
        read_study(tmp_path / "a.yaml")
    assert caught.value


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a study's YAML file at "):
        read_study(tmp_path / "none.yaml")
