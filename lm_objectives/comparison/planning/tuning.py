"""Choose an arm's settings on seeds and documents that the study does not report."""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from lm_objectives.comparison.evidence.metrics import claimed_direction, complete
from lm_objectives.comparison.planning.plan import check_claims, tuning_points
from lm_objectives.comparison.planning.planner import Planner, run_settings, split_seed_of
from lm_objectives.comparison.planning.timing import time_steps
from lm_objectives.comparison.records import RunRecord
from lm_objectives.comparison.running.collect import collect
from lm_objectives.comparison.running.study_run import StudyRun
from lm_objectives.comparison.study import TUNING_SEED
from lm_objectives.errors import RunError


class TuningRuns:
    """The runs that settings are chosen by: as many for every arm, with the study's largest budget.

    Args:
        planner: of a study that tunes.
        timings: seconds of a step by arm, where the budget is in seconds.
    """

    def __init__(self, planner: Planner, timings: Mapping[str, float]) -> None:
        self._study, self._planner, self._timings = planner.study, planner, timings
        self.points = {name: tuning_points(planner.study, name) for name in planner.study.arms}
        self.runs = self._make()

    def _make(self) -> dict[str, list[list[StudyRun]]]:
        """The runs of each arm's points, a list a point."""
        study, planner = self._study, self._planner
        assert study.tune is not None
        plain = {name: planner.arm(name, {}) for name in study.arms}
        split_seed = split_seed_of(plain)
        check_claims(study, planner.tasks, plain)
        amount = planner.budgets(plain)[-1]
        task = None if study.tune.by is None else study.tune.by.split("/")[0]
        tasks = [entry for entry in study.evaluate.tasks if entry.partition("=")[0] == task] or ["held_out"]
        root = study.output_folder
        made: dict[str, list[list[StudyRun]]] = {}
        self._own = {name: [r for r, trained in arm.readings.items() if trained] for name, arm in plain.items()}
        for name, points in self.points.items():
            for number, point in enumerate(points):
                arm = planner.arm(name, point)
                steps = planner.steps(arm, amount, self._timings.get(name, 0.0))
                own = []
                for seed in range(TUNING_SEED, TUNING_SEED + study.tune.seeds):
                    folder = f"tuning/{name}/{number}/{seed}"
                    settings = run_settings(
                        study, name, arm.settings, steps, seed, split_seed, root / folder, "tune", tasks
                    )
                    own.append(StudyRun(name, seed, 0, root, folder, settings))
                made.setdefault(name, []).append(own)
        return made

    def in_order(self) -> list[StudyRun]:
        """All runs, point by point over all arms."""
        points = len(next(iter(self.points.values())))
        return [run for number in range(points) for own in self.runs.values() for run in own[number]]

    def choose(self) -> dict[str, dict[str, Any]]:
        """The best point of each arm; among equals the first.

        Raises:
            RunError: where all of an arm's runs failed.
        """
        chosen: dict[str, dict[str, Any]] = {}
        for name, points in self.runs.items():
            scores = [self._score(collect(runs)) for runs in points]
            best = min(range(len(scores)), key=scores.__getitem__)
            if not math.isfinite(scores[best]):
                raise RunError(
                    f"expected a tuning run of arm {name} to come to its end, found that all failed: see "
                    f"{points[0][0].path / 'log.txt'}"
                )
            chosen[name] = self.points[name][best]
        return chosen

    def _score(self, records: Sequence[RunRecord]) -> float:
        """What decides, smaller for better; infinite where a run failed."""
        assert self._study.tune is not None
        by = self._study.tune.by
        if not records or any(record.failed is not None for record in records):
            return math.inf
        if by is None:
            return fmean(_own_nats(record.numbers, self._own[record.arm]) for record in records)
        number = complete(by)
        value = fmean(record.numbers.get(number, math.nan) for record in records)
        return math.inf if math.isnan(value) else -value if claimed_direction(number) == "greater" else value


def _own_nats(numbers: Mapping[str, float], readings: Iterable[str]) -> float:
    """Mean nats over the readings that an arm is trained for."""
    found = [value for reading in readings if (value := numbers.get(f"held_out/{reading}/nats")) is not None]
    return fmean(found) if found else math.inf


def tuning_timings(planner: Planner) -> dict[str, float]:
    """Seconds of a step of each arm before it is tuned, where the budget is in seconds."""
    study = planner.study
    if study.budget.kind != "seconds":
        return {}
    plain = {name: planner.arm(name, {}) for name in study.arms}
    seed, root = split_seed_of(plain), study.output_folder / "timing"
    trials = {
        name: run_settings(study, name, arm.settings, 1000, TUNING_SEED, seed, root, "tune", [])
        for name, arm in plain.items()
    }
    return time_steps(trials, 2, planner.environment())
