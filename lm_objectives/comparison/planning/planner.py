"""Read the arms of a study, and calculate what they cost and what a budget pays of them."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lm_objectives.comparison.planning.arms import (
    arguments_of,
    is_fixed,
    settings_of_run,
    with_ratio,
    without_objectives,
    without_selection,
)
from lm_objectives.comparison.planning.cost import CostModel, steps_within
from lm_objectives.comparison.planning.experiment import Experiment, ExperimentReader
from lm_objectives.comparison.study import Settings, Study
from lm_objectives.errors import expect, refused_in
from lm_objectives.evaluation.evaluate import make_tasks
from lm_objectives.evaluation.halves import Documents
from lm_objectives.evaluation.readings.base import Reading
from lm_objectives.evaluation.readings.collect import collect_readings


@dataclass(eq=False)
class PlannedArm:
    """An arm with all that a plan has to know of it.

    Attributes:
        name: of the arm.
        settings: of a training and its evaluation, but for steps, seeds, folder, tasks and documents.
        experiment: its parts.
        cost: what a training costs.
        lost: callbacks that were left out.
    """

    name: str
    settings: Settings
    experiment: Experiment
    cost: CostModel
    lost: list[str] = field(default_factory=list)

    @property
    def heads(self) -> dict[str, Reading]:
        """The ways in which it can be read."""
        module = self.experiment.module
        return collect_readings({name: module.objectives[name] for name in module.names})  # type: ignore[misc]

    @property
    def readings(self) -> dict[str, bool]:
        """The names of the ways in which it can be read, and whether it is trained for it."""
        module, weights = self.experiment.module, self.experiment.module.weights(0)
        weighted = zip(module.names, weights.tolist(), strict=True)
        trained = {id(module.objectives[name]) for name, weight in weighted if weight or not is_fixed(self.settings)}
        return {name: id(reading.objective) in trained for name, reading in self.heads.items()}

    def objectives(self, steps: int) -> dict[str, float]:
        """Parts of the rows by objective, over so many steps, of those that have any."""
        rows = self.cost(steps).rows
        return {name: number / sum(rows.values()) for name, number in rows.items() if number}


class Planner:
    """Reads arms and calculates what they cost, each different one once.

    Args:
        study: which is planned.
        reader: reads settings as `fit` does.
        threads: of each run.

    Raises:
        InputError: where a task, or its file, is not there.
    """

    def __init__(self, study: Study, reader: ExperimentReader, threads: int) -> None:
        self.study, self._reader, self.threads = study, reader, threads
        self.tasks = make_tasks(study.evaluate.tasks)
        self._known: dict[str, tuple[Experiment, CostModel]] = {}

    def read(self, name: str, tuned: Mapping[str, Any]) -> Settings:
        """The settings of an arm with tuned ones laid over it; nothing is made of them yet.

        Raises:
            InputError: where they are wrong.
        """
        arm = self.study.arms[name]
        with refused_in(f"arm {name}"):
            return with_ratio(self._reader.read(arguments_of(self.study, arm, tuned)), arm.ratio)

    def arm(self, name: str, tuned: Mapping[str, Any]) -> PlannedArm:
        """An arm with tuned settings laid over it.

        Raises:
            InputError: where its settings are wrong.
        """
        arm = self.study.arms[name]
        settings, lost = without_selection(self.read(name, tuned))
        with refused_in(f"arm {name}"):
            experiment, cost = self._open(settings)
            if arm.ratio is not None and (unread := _untrained_heads(experiment, arm.ratio)):
                settings = without_objectives(settings, unread)
                experiment, cost = self._open(settings)
        planned = PlannedArm(name, settings, experiment, cost, lost)
        return replace(planned, settings={**settings, "evaluation": self._evaluation(planned.readings)})

    def _evaluation(self, have: Collection[str]) -> Settings:
        """How the runs of an arm are evaluated, by those of the study's readings that it has."""
        evaluate = self.study.evaluate
        wanted = evaluate.readings
        return {
            "readings": None if wanted is None else [reading for reading in wanted if reading in have],
            "items": evaluate.items,
            "batch_tokens": evaluate.batch_tokens,
            "precision": evaluate.precision,
            "seed": 0,
        }

    def corpus(self, settings: Settings) -> str:
        """Hash of the documents that a training with these settings reads."""
        return self._reader.open(settings).data.text.identity

    def _open(self, settings: Settings) -> tuple[Experiment, CostModel]:
        model = {name: value for name, value in settings["model"].items() if name not in ("optimizer", "lr_schedule")}
        key = settings_hash(settings["data"], model)
        if key not in self._known:
            experiment = self._reader.open(settings)
            self._known[key] = experiment, CostModel(experiment, self.study.seed_list[0])
        return self._known[key]

    def environment(self) -> dict[str, str]:
        """Variables of each training's process."""
        return {"OMP_NUM_THREADS": str(self.threads)}

    def budgets(self, arms: Mapping[str, PlannedArm]) -> list[float]:
        """What each rung may cost: FLOPs, tokens or seconds.

        Raises:
            InputError: for FLOPs of an arm whose losses decide which objectives read.
        """
        budget = self.study.budget
        if budget.kind in ("tokens", "seconds"):
            return budget.amounts
        for name, arm in arms.items():
            balancer = type(arm.experiment.module.balancer).__name__
            expect(
                arm.cost.is_known,
                f"a balancer of arm {name} that knows before the training which objectives read when, for a budget of "
                "FLOPs",
                f"{balancer}, which decides that by losses",
                "give a budget of tokens",
            )
        if budget.steps_of is None:
            return budget.amounts
        return [arms[budget.steps_of].cost(int(steps)).flops for steps in budget.amounts]

    def steps(self, arm: PlannedArm, amount: float, seconds: float) -> int:
        """The optimizer steps of an arm that a budget pays.

        Args:
            arm: any.
            amount: as `budgets` gives it.
            seconds: of a step, where the budget is in seconds.

        Raises:
            InputError: where it pays less than one.
        """
        kind = self.study.budget.kind
        if kind == "seconds":
            mend = f"raise it above {seconds:.3g} seconds"
            expect(amount >= seconds, f"a budget of at least one step of arm {arm.name}", f"{amount:g} seconds", mend)
            return round(amount / seconds)
        if kind == "tokens":
            return steps_within(amount, lambda steps: arm.cost(steps).tokens, f"arm {arm.name}, in tokens")
        return steps_within(amount, lambda steps: arm.cost(steps).flops, f"arm {arm.name}, in FLOPs")


def _untrained_heads(experiment: Experiment, ratio: Mapping[str, float]) -> set[str]:
    """Objectives without a part in a ratio that have weights of their own, which would stay as they begin."""
    module = experiment.module
    return {
        name for name in module.names if name not in ratio and any(True for _ in module.objectives[name].parameters())
    }


def run_settings(
    study: Study,
    arm: str,
    settings: Settings,
    steps: int,
    seed: int,
    split_seed: int,
    folder: Path,
    documents: Documents,
    tasks: Sequence[str],
) -> Settings:
    """All settings of a run of an arm.

    Args:
        study: which it is of.
        arm: its name.
        settings: the arm's.
        steps, seed, split_seed: of the training.
        folder: where it writes.
        documents: which of those held out it is evaluated on.
        tasks: that it is evaluated on.
    """
    kind = arm if documents != "tune" else f"{arm}, tuning"
    tracking = {**settings["tracking"], "group": study.name, "job_type": kind}
    return settings_of_run(
        settings,
        steps=steps,
        seed=seed,
        split_seed=split_seed,
        folder=str(folder),
        evaluation={**settings["evaluation"], "tasks": [*tasks], "documents": documents},
        tracking={**tracking, "name": "-".join(folder.relative_to(study.output_folder).parts[1:])},
    )


def split_seed_of(arms: Mapping[str, PlannedArm]) -> int:
    """The seed of the split that all arms share."""
    seeds: dict[str, int] = {}
    for name, arm in arms.items():
        data = arm.settings["data"]
        seeds[name] = data["seed"] if data["split_seed"] is None else data["split_seed"]
    expect(len({*seeds.values()}) == 1, "one data.split_seed for all arms", seeds, "set it in the base alone")
    caches = {str(arm.experiment.data.text.identity) for arm in arms.values()}
    mend = "give all arms one data.corpus and data.tokenizer, or compare bits per byte in two studies"
    expect(len(caches) == 1, "one corpus for all arms", f"{len(caches)}", mend)
    return next(iter(seeds.values()))


def settings_hash(*values: Any) -> str:
    """Equal for equal settings."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()
