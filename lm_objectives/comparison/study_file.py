"""Read a study from YAML, and check it: one line for the first fault."""

import math
import re
import reprlib
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from lm_objectives.comparison.evidence.metrics import complete
from lm_objectives.comparison.study import TUNING_SEED, Arm, ArmAt, Budget, Claim, EvaluationPlan, Study, Tuning
from lm_objectives.errors import InputError, expect, refused_in
from lm_objectives.evaluation.evaluate import check_names
from lm_objectives.strict_yaml import read_mapping

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


def read_study(path: str | Path) -> Study:
    """The study of a YAML file.

    Raises:
        InputError: for what is no study, with the first fault: its key, what was expected and what was found.
    """
    file = Path(path).expanduser()
    expect(file.is_file(), f"a study's YAML file at {file}", "none", "check the path")
    return study_of(_beside(read_mapping(file, "study", "base, arms, seeds"), file.parent), str(file))


def _beside(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A study with the paths of configurations that are not found from here, but from its own folder."""

    def found(config: Any) -> Any:
        near = isinstance(config, str) and not Path(config).exists() and (folder / config).is_file()
        return str(folder / config) if near else config

    def all_of(configs: Any) -> Any:
        return [found(config) for config in configs] if isinstance(configs, list) else found(configs)

    made = {**content, "base": all_of(content["base"])} if "base" in content else content
    arms = made.get("arms")
    if isinstance(arms, dict):
        near = {
            n: {**a, "config": all_of(a["config"])} for n, a in arms.items() if isinstance(a, dict) and "config" in a
        }
        made = {**made, "arms": arms | near}
    return made


def study_of(content: dict[str, Any], place: str) -> Study:
    """The study that plain data says.

    Args:
        content: as in its YAML file.
        place: for messages.

    Raises:
        InputError: as `read_study` does.
    """
    try:
        study: Study = _adapter().validate_python(content)
    except ValidationError as error:
        raise InputError(_fault(error, place)) from error
    _check(study, place)
    return study


@cache
def _adapter() -> Any:
    return TypeAdapter(Study)


def _fault(error: ValidationError, place: str) -> str:
    """The first fault of a study in one line."""
    unknown = ("unexpected_keyword_argument", "extra_forbidden")
    faults = error.errors(include_url=False)
    fault = next((fault for fault in faults if fault["type"] in unknown), faults[0])
    keys = [str(key) for key in fault["loc"] if not str(key).startswith(("constrained-", "function-", "list[", "int"))]
    key = ".".join(keys)
    if fault["type"] in unknown:
        known = _keys_of(keys)
        near = get_close_matches(keys[-1], known, 1)
        return f"expected known keys in {place}, found {key}: " + (
            f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        )
    if fault["type"] in ("missing", "missing_argument"):
        return f"expected {key} in {place}, found none: add it"
    if fault["type"] == "too_short":
        return f"expected {key} in {place} to have something in it, found {fault['input']}: add one"
    said = " ".join(fault["msg"].split()).removeprefix("Value error, ").removeprefix("Input should be ")
    expected = said.replace("dictionary or an instance of", "mapping, as for").removeprefix("Keys should be ")
    expected = expected.replace("valid dictionary", "mapping")
    found = " ".join(reprlib.repr(fault["input"]).split())
    return f"expected {key} in {place} to be {expected}, found {found}: correct it"


def _keys_of(keys: Sequence[str]) -> list[str]:
    """The keys that there are where one is unknown."""
    kinds = {"arms": Arm, "budget": Budget, "evaluate": EvaluationPlan, "claims": Claim, "tune": Tuning}
    kind: Any = Study if len(keys) == 1 else kinds[keys[0]]
    return [*kind.__dataclass_fields__]


def _check(study: Study, place: str) -> None:
    """Raise for what no study can be, whatever its base is."""
    arms = study.arms
    for name in arms:
        expected = f"names of arms in {place} of letters, digits, '.', '_' and '-'"
        expect(_NAME.fullmatch(name) is not None, expected, repr(name), "rename it")
    seeds = study.seed_list
    repeated = sorted({seed for seed in seeds if seeds.count(seed) > 1})
    expect(not repeated, f"each seed once in {place}", f"{repeated} twice", "leave one out")
    expected = f"seeds below {TUNING_SEED:,} in {place}, from which on seeds are for tuning"
    expect(max(seeds) < TUNING_SEED, expected, max(seeds), "choose others")
    _check_budget(study.budget, arms, place)
    with refused_in(f"evaluate.tasks of {place}"):
        check_names(study.evaluate.tasks)
    read = study.evaluate.readings
    expect(read is None or bool(read), f"readings in evaluate of {place}", "none", "leave the key out for all")
    for claim in study.claims:
        _check_claim(claim, study, place)
    expect(bool(study.output.strip()), f"a folder as output in {place}", "none", "name one of the study's own")
    if study.tune is not None:
        _check_tuning(study.tune, arms, _tasks(study), place)
    if study.looks is not None:
        rising = sorted({*study.looks}) == study.looks and study.looks[-1] == len(seeds)
        mend = f"end with {len(seeds)}"
        expect(rising, f"looks in {place} that rise to the {len(seeds)} seeds", study.looks, mend)


def _check_budget(budget: Budget, arms: Iterable[str], place: str) -> None:
    kinds = [name for name in ("flops", "tokens", "seconds", "steps") if getattr(budget, name) is not None]
    expected = f"one of flops, tokens, seconds, or steps with steps_of, as budget in {place}"
    expect(len(kinds) == 1, expected, ", ".join(kinds) or "none", "give one")
    both = (budget.steps is None) == (budget.steps_of is None)
    expect(both, f"steps and steps_of together as budget in {place}", "one of them", "give both, or flops")
    if budget.steps_of is not None:
        expect_arm(budget.steps_of, arms, f"budget.steps_of in {place}")
    amounts = budget.amounts
    mend = "leave one out"
    expect(len({*amounts}) == len(amounts), f"each amount of the budget once in {place}", amounts, mend)


def _check_claim(claim: Claim, study: Study, place: str) -> None:
    given = [name for name in ("better", "equal", "not_worse") if getattr(claim, name)]
    where = f"in a claim of {place}"
    expected = f"one of better, equal and not_worse {where}"
    expect(len(given) == 1, expected, ", ".join(given) or "none", "write {better: mixed, than: masked, on: …}")
    kind = claim.kind
    other, wrong = ("to", "than") if kind == "equal" else ("than", "to")
    expect(bool(getattr(claim, other)), f"{other} with {kind} {where}", "none", "name what it is held against")
    expect(not getattr(claim, wrong), f"{other} with {kind} {where}", wrong, f"write {other}")
    needs = kind != "better"
    mend = "say by how much they may differ, in the unit of the number" if needs else "leave it out"
    expected = f"{'a' if needs else 'no'} within with {kind} {where}"
    expect((claim.within is not None) == needs, expected, "none" if needs else claim.within, mend)
    arms = [ArmAt.parse(text) for text in [claim.arm, *claim.others]]
    amounts = study.budget.amounts
    for arm in arms:
        expect_arm(arm.arm, study.arms, where.removeprefix("in "))
        there = any(math.isclose(amount, arm.part * amounts[-1], rel_tol=1e-6) for amount in amounts)
        mend = f"add {arm.part * amounts[-1]:g} to the budget"
        expect(there, f"a rung of {arm.part:g} of the largest budget {where}", amounts, mend)
    twice = next((text for text in (claim.arm, *claim.others) if arms.count(ArmAt.parse(text)) > 1), None)
    expect(twice is None, f"arms that differ {where}", f"{twice} twice", "correct it")
    for number in claim.on:
        _check_number(number, _tasks(study), where)


def _tasks(study: Study) -> list[str]:
    return [task.partition("=")[0] for task in study.evaluate.tasks]


def _check_number(number: str, tasks: Sequence[str], where: str) -> None:
    with refused_in(where):
        complete(number)
    task, near = number.partition("/")[0], f"there are {', '.join(tasks)}"
    expect(task in tasks, f"a task of evaluate.tasks for {number} {where}", task, near)


def _check_tuning(tune: Tuning, arms: Iterable[str], tasks: Sequence[str], place: str) -> None:
    arms = list(arms)
    if tune.by is not None:
        _check_number(tune.by, tasks, f"for tune.by in {place}")
    found = "both" if tune.grid and tune.arms else "neither"
    expect(bool(tune.grid) != bool(tune.arms), f"grid or arms in tune of {place}", found, "give one of them")
    if tune.arms:
        for name in tune.arms:
            expect_arm(name, arms, f"tune.arms in {place}")
        missing = ", ".join(name for name in arms if name not in tune.arms)
        expect(not missing, f"a list for every arm in tune.arms of {place}", f"none for {missing}", "tune all, or none")
        numbers = {name: len(tried) for name, tried in tune.arms.items()}
        mend = "an arm that is tuned more has an advantage"
        expect(len({*numbers.values()}) == 1, f"the same number of runs for each arm in tune of {place}", numbers, mend)
    for name, values in (tune.grid or {}).items():
        expect(bool(values), f"values of {name} in tune.grid of {place}", "none", "give some")


def expect_arm(name: str, arms: Iterable[str], where: str) -> None:
    """Raise where there is no arm of that name."""
    arms = list(arms)
    near = get_close_matches(name, arms, 1)
    mend = f"did you mean {near[0]}?" if near else f"there are {', '.join(arms)}"
    expect(name in arms, f"an arm for {where}", repr(name), mend)
