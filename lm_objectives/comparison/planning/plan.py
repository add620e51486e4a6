"""The plan of a study: the settings of each arm, the steps that the budget pays, and what has to be said beforehand."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from types import MappingProxyType
from typing import Any

from lm_objectives.comparison.evidence.metrics import claimed_direction, complete, split
from lm_objectives.comparison.planning.planner import PlannedArm, Planner, run_settings, settings_hash, split_seed_of
from lm_objectives.comparison.planning.remarks import pair, remarks
from lm_objectives.comparison.planning.timing import time_steps
from lm_objectives.comparison.records import ArmPlan, Pairing, PlanRecord
from lm_objectives.comparison.running.study_run import StudyRun
from lm_objectives.comparison.study import Settings, Study
from lm_objectives.errors import expect
from lm_objectives.evaluation.halves import Documents
from lm_objectives.evaluation.readings.base import TextReading
from lm_objectives.evaluation.tasks.base import Task
from lm_objectives.evaluation.tasks.held_out import HeldOut
from lm_objectives.evaluation.tasks.labelled import FINE_TUNED, LabelledTask
from lm_objectives.evaluation.tasks.linear_probe import layer_readings
from lm_objectives.evaluation.tasks.probes import PROBES, Probes

SCHEMA = 2
"""Version of the layout of `plan.json`."""

_BYTES = 12  # of a parameter in a checkpoint: itself and an optimizer's two states


@dataclass(eq=False)
class StudyPlan:
    """A study with the settings of each arm and the steps of each rung.

    Attributes:
        study: which it is of.
        read: hash of each arm's settings as they were read.
        settings: of each arm's runs, but for steps, seeds and folder.
        steps: of each arm on each rung.
        split_seed: of all runs.
        corpus: hash of the documents of all runs.
        record: what is said of it.
    """

    study: Study
    read: dict[str, str]
    settings: dict[str, Settings]
    steps: dict[str, list[int]]
    split_seed: int
    corpus: str
    record: PlanRecord

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"schema": SCHEMA, "version": version("lm-objectives"), **asdict(self)}

    @staticmethod
    def known(before: Mapping[str, Any], study: Study, read: Mapping[str, str]) -> "StudyPlan | None":
        """What an earlier start planned, where study, settings and version are as they were."""
        now = {"schema": SCHEMA, "version": version("lm-objectives"), "study": asdict(study), "read": read}
        if any(before.get(key) != value for key, value in now.items()):
            return None
        record = before["record"]
        record |= {"arms": [ArmPlan(**arm) for arm in record["arms"]], "pairing": Pairing(**record["pairing"])}
        kept = {key: before[key] for key in ("settings", "steps", "split_seed", "corpus")}
        return StudyPlan(study, dict(read), record=PlanRecord(**record), **kept)

    def check_runs(self) -> None:
        """Raise where a run is there that was made with other settings.

        Raises:
            InputError: for the first of them.
        """
        for run in self.runs():
            run.check_settings()

    def runs(self) -> list[StudyRun]:
        """The runs in their order: seed by seed over all arms, so that a study that is stopped early is balanced."""
        documents: Documents = "all" if self.study.tune is None else "report"
        root = self.study.output_folder
        ladder = len(self.study.budget.amounts) > 1
        made = []
        for seed in self.study.seed_list:
            for rung in range(len(self.study.budget.amounts)):
                for name, own in self.settings.items():
                    folder = f"runs/{name}/{f'rung{rung}/' if ladder else ''}{seed}"
                    steps = self.steps[name][rung]
                    settings = run_settings(
                        self.study,
                        name,
                        own,
                        steps,
                        seed,
                        self.split_seed,
                        root / folder,
                        documents,
                        self.study.evaluate.tasks,
                    )
                    made.append(StudyRun(name, seed, rung, root, folder, settings))
        return made


def make_plan(
    planner: Planner,
    tuned: Mapping[str, Mapping[str, Any]],
    before: Mapping[str, Any] = MappingProxyType({}),
    times: bool = True,
) -> StudyPlan:
    """Plan a study.

    Args:
        planner: of the study.
        tuned: settings that tuning has chosen, by arm; none before it or without it.
        before: what an earlier start planned, from which nothing is calculated or timed anew that is as it was.
        times: whether steps are timed here, where it is not known how long they take.

    Raises:
        InputError: where an arm, the budget or a claim cannot be carried out.
    """
    study, budget = planner.study, planner.study.budget
    read = {name: settings_hash(planner.read(name, tuned.get(name, {})), planner.threads) for name in study.arms}
    if (known := StudyPlan.known(before, study, read)) is not None:
        if not all(run.is_done() for run in known.runs()):
            _check_corpus(before, planner.corpus(next(iter(known.settings.values()))))
        return known
    arms = {name: planner.arm(name, tuned.get(name, {})) for name in study.arms}
    split_seed = split_seed_of(arms)
    check_claims(study, planner.tasks, arms)
    corpus = next(iter(arms.values())).experiment.data.text.identity
    _check_corpus(before, corpus)
    seconds = _known_timings(before, read)
    seconds = seconds if seconds.keys() == arms.keys() else {}

    def timed(steps: Mapping[str, int], rounds: int) -> dict[str, float]:
        runs = {
            name: run_settings(
                study,
                name,
                arm.settings,
                steps[name],
                study.seed_list[0],
                split_seed,
                study.output_folder / "timing",
                "all",
                [],
            )
            for name, arm in arms.items()
        }
        return time_steps(runs, rounds, planner.environment())

    if budget.kind == "seconds" and not seconds:
        seconds = timed({name: 1000 for name in arms}, 2)
    amounts = planner.budgets(arms)
    steps = {
        name: [planner.steps(arm, amount, seconds.get(name, 0.0)) for amount in amounts] for name, arm in arms.items()
    }
    if times and not seconds:
        seconds = timed({name: steps[name][-1] for name in arms}, 1)
    plans = [
        _arm_plan(arms[name], rung, steps[name][rung], seconds.get(name))
        for rung in range(len(budget.amounts))
        for name in arms
    ]
    points = len(tuning_points(study, next(iter(arms))))
    record = PlanRecord(
        budget=_budget_text(study, plans),
        arms=plans,
        seeds=study.seed_list,
        pairing=pair(arms, plans),
        warnings=remarks(study, arms, plans),
        threads=planner.threads,
        megabytes=sum(plan.parameters for plan in plans) * _BYTES * len(study.seed_list) / 1e6,
        tuning_runs=0 if study.tune is None else len(arms) * points * study.tune.seeds,
        chosen={name: dict(values) for name, values in tuned.items()},
    )
    settings = {name: arm.settings for name, arm in arms.items()}
    return StudyPlan(study, read, settings, steps, split_seed, corpus, record)


def _check_corpus(before: Mapping[str, Any], corpus: str) -> None:
    """Raise where runs of an earlier start read another text."""
    mend = "put the text back, or give the study another output"
    expect(before.get("corpus", corpus) == corpus, "the text that the study's runs read", "another one", mend)


def _known_timings(before: Mapping[str, Any], read: Mapping[str, str]) -> dict[str, float]:
    """Seconds of a step of the arms that are as they were when an earlier start timed them."""
    arms = before["record"]["arms"] if "record" in before else []
    same = [arm for arm in arms if arm["seconds"] and before["read"].get(arm["arm"]) == read.get(arm["arm"])]
    return {arm["arm"]: arm["seconds"] / arm["steps"] for arm in same}


def tuning_points(study: Study, arm: str) -> list[dict[str, Any]]:
    """The settings that tuning tries for an arm, in their order."""
    tune = study.tune
    if tune is None:
        return []
    if tune.arms:
        return tune.arms[arm]
    points: list[dict[str, Any]] = [{}]
    for name, values in (tune.grid or {}).items():
        points = [{**point, name: value} for point in points for value in values]
    return points


def check_claims(study: Study, tasks: Sequence[Task], arms: Mapping[str, PlannedArm]) -> None:
    """Raise for a claim, or a tuning, by a number that one of its arms cannot have, and for readings of nobody."""
    task_of = {task.name: task for task in tasks}
    anyone = {reading for arm in arms.values() for reading in arm.readings}
    wanted = study.evaluate.readings
    known = f"arms have {', '.join(sorted(anyone))}"
    for reading in wanted or ():
        expect(reading in anyone, "readings that an arm has in evaluate.readings", reading, known)
    if wanted is not None and not all(isinstance(task, Probes | LabelledTask) for task in tasks):
        for name, arm in arms.items():
            read = not arm.readings.keys().isdisjoint(wanted)
            mend = f"arm {name} has {', '.join(arm.readings) or 'none'}"
            expect(read, f"a reading of arm {name} in evaluate.readings", ", ".join(wanted), mend)
    numbers = [
        (number, text.partition("@")[0])
        for claim in study.claims
        for number in claim.on
        for text in (claim.arm, *claim.others)
    ]
    if study.tune is not None and study.tune.by is not None:
        numbers += [(study.tune.by, name) for name in arms]
    for number, name in numbers:
        claimed_direction(complete(number))
        task, reading, metric = split(complete(number))
        of_states = task_of[task.partition("/")[0]]
        if isinstance(of_states, Probes | LabelledTask):
            _check_states(number, name, layer_readings(arms[name].experiment.module.backbone.config), of_states)
            continue
        expect(reading in anyone, f"a reading that an arm has in {number}", reading, known)
        read = wanted is None or reading in wanted
        expect(read, f"a reading of evaluate.readings in {number}", reading, "add it there")
        have = ", ".join(arms[name].readings) or "none"
        mend = "name one that all of these arms can be read for"
        expect(reading in arms[name].readings, f"{reading}, as {number} is read, of arm {name}", have, mend)
        head = arms[name].heads[reading]
        if task == HeldOut.name:
            of_tokens = ("bits_per_byte", "entropy", "calibration_error", "temperature")
            mend = f"{reading} predicts no text"
            expect(metric not in of_tokens or head.held_out == "tokens", f"another metric in {number}", metric, mend)
        else:
            mend = "it has numbers of held_out alone"
            expect(isinstance(head, TextReading), f"a reading that scores texts in {number}", reading, mend)
            of_choices = ("accuracy", "accuracy_by_mean", "f1", "auc")
            expect(metric in of_choices, f"accuracy of {task} in {number}", metric, "nats are of held_out")
    if study.tune is not None and study.tune.by is None:
        for name, arm in arms.items():
            own = [reading for reading, trained in arm.readings.items() if trained]
            found = any(wanted is None or reading in wanted for reading in own)
            expect(
                found, f"a reading that arm {name} is trained for in evaluate.readings", wanted, "add one, or tune.by"
            )


def _check_states(number: str, arm: str, layers: Sequence[str], task: Probes | LabelledTask) -> None:
    """Raise for a number of a probe, or of labelled texts, that an arm cannot have."""
    name, reading, metric = split(complete(number))
    if isinstance(task, Probes):
        probe = name.partition("/")[2]
        expect(probe in PROBES, f"a probe in {number}", probe, f"there are {', '.join(PROBES)}")
        known = layers
    else:
        known = [*layers, *FINE_TUNED.values()]
    expect(reading in known, f"a reading of arm {arm} in {number}", reading, f"there are {', '.join(known)}")
    expect(metric == "accuracy", f"accuracy in {number}", metric, "claims on states are by no other metric")


def _arm_plan(arm: PlannedArm, rung: int, steps: int, seconds: float | None) -> ArmPlan:
    cost, data = arm.cost(steps), arm.experiment.data
    return ArmPlan(
        arm=arm.name,
        rung=rung,
        objectives=arm.objectives(steps),
        steps=steps,
        tokens=cost.tokens,
        flops=cost.flops if arm.cost.is_known else None,
        epochs=cost.tokens / len(data.text.training.tokens),
        parameters=arm.cost.parameters,
        seconds=None if seconds is None else seconds * steps,
        balancer=type(arm.experiment.module.balancer).__name__,
    )


def _budget_text(study: Study, plans: Sequence[ArmPlan]) -> str:
    budget, amounts = study.budget, study.budget.amounts
    if budget.kind == "steps":
        flops = ", ".join(f"{plan.flops:.3g}" for plan in plans if plan.arm == budget.steps_of)
        return f"{flops} FLOPs, as {budget.steps_of} in {', '.join(f'{n:,.0f}' for n in amounts)} steps"
    said = ", ".join(f"{amount:.3g}" for amount in amounts)
    return f"{said} {'FLOPs' if budget.kind == 'flops' else budget.kind}"
