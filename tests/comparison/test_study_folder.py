"""A study's folder: whose it is, and what stays as it was planned once a run is done."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lm_objectives.comparison.running.study_run import StudyRun
from lm_objectives.comparison.study import Budget, Study
from lm_objectives.comparison.study_file import study_of
from lm_objectives.comparison.study_folder import StudyFolder
from lm_objectives.errors import InputError


def study(output: Path, **changes: Any) -> Study:
    content = {
        "base": "quickstart",
        "arms": {"a": {}, "b": {}},
        "seeds": 3,
        "budget": {"tokens": 1e6},
        "evaluate": {"tasks": ["held_out", "swaps"]},
        "claims": [{"better": "a", "than": "b", "on": "held_out/causal"}],
        "output": str(output),
    }
    return study_of(content | changes, "study.yaml")


def begun(output: Path, done: bool) -> dict[str, Any]:
    """What a first start wrote, and a run that is done or not."""
    folder = StudyFolder(study(output))
    with folder.held():
        folder.save(None, folder.check(), {"threads": 2})
    if done:
        (output / "runs" / "a" / "0").mkdir(parents=True)
        (output / "runs" / "a" / "0" / "failed.json").write_text('{"reason": "it"}', encoding="utf-8")
    return folder.check()


LATER = {"claims": [{"better": "b", "than": "a", "on": "held_out/causal"}], "seeds": [3, 4, 5, 6]}


def test_what_decides_may_change_until_a_run_is_done(tmp_path: Path) -> None:
    before = begun(tmp_path / "out", done=False)
    later = study(tmp_path / "out", **LATER)
    assert StudyFolder(later).planned(before) == (later, [])


def test_what_decides_stays_once_a_run_is_done(tmp_path: Path) -> None:
    before = begun(tmp_path / "out", done=True)
    later = study(tmp_path / "out", **LATER, arms={"a": {}, "b": {}, "c": {}})
    first, [said] = StudyFolder(later).planned(before)
    assert first == replace(later, claims=study(tmp_path).claims, seeds=3)
    assert said.startswith("claims or looks were changed after runs were done")
    folder = StudyFolder(later)
    folder.save(None, before, {"threads": 2})
    assert folder.planned(folder.check())[0] == first


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"base": "recipes/gpt"}, "expected this study, or a part of it, in .*found one of the base quickstart"),
        ({"arms": {"a": {}}, "claims": []}, "expected this study, or a part of it, in .* with arms a, b: give it"),
        ({"budget": {"tokens": 2e6}}, "expected the budget of the runs in .*, found another: give another output"),
    ],
)
def test_another_study_has_no_place_there(changes: dict[str, Any], line: str, tmp_path: Path) -> None:
    begun(tmp_path / "out", done=True)
    with pytest.raises(InputError, match=line):
        StudyFolder(study(tmp_path / "out", **changes)).check()


def test_a_budget_that_nothing_was_spent_of_may_change(tmp_path: Path) -> None:
    begun(tmp_path / "out", done=False)
    changed = replace(study(tmp_path / "out"), budget=Budget(tokens=[2e6]))
    assert StudyFolder(changed).check()["threads"] == 2


def test_a_start_that_was_killed_while_it_wrote_leaves_the_folder_free(tmp_path: Path) -> None:
    (tmp_path / ".plan.json.part").write_text("{", encoding="utf-8")
    folder = StudyFolder(study(tmp_path))
    assert folder.check() == {}
    with folder.held():
        folder.save(None, {}, {"threads": 1})
    assert folder.check()["planned"]["seeds"] == 3


def test_a_refusal_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError), StudyFolder(study(tmp_path / "out")).held():
        raise InputError("no")
    assert [*tmp_path.iterdir()] == []


def finished(folder: Path, steps: int, tasks: list[str]) -> StudyRun:
    settings = {"trainer": {"max_steps": 8}, "evaluation": {"tasks": tasks}}
    run = StudyRun("a", 0, 0, folder, "runs/a/0", settings)
    run.path.mkdir(parents=True, exist_ok=True)
    (run.path / "evaluation.json").write_text(json.dumps({"model": {"steps": steps}}), encoding="utf-8")
    return run


def test_what_is_evaluated_later_by_hand_is_not_the_studys(tmp_path: Path) -> None:
    run = finished(tmp_path, 8, ["held_out"])
    assert run.finish() and run.is_done()
    assert not finished(tmp_path, 3, ["held_out"]).finish()
    assert run.result() == {"model": {"steps": 8}}


def test_a_task_that_is_added_is_still_to_do(tmp_path: Path) -> None:
    assert finished(tmp_path, 8, ["held_out", "swaps"]).finish()
    assert finished(tmp_path, 8, ["swaps"]).is_done()
    assert not finished(tmp_path, 8, ["swaps", "probes"]).is_done()
