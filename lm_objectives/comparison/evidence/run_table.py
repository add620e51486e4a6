"""The runs of a study by arm, rung and seed: which are done, which failed, and what they measured."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lm_objectives.comparison.evidence.power import alpha_of_look
from lm_objectives.comparison.records import PlanRecord, RunRecord
from lm_objectives.comparison.study import ArmAt, Study
from lm_objectives.errors import expect


@dataclass(frozen=True)
class RunTable:
    """The records of a study's arms, in the order of arms, rungs and seeds whatever order they came in.

    Attributes:
        arms: their names, in the study's order.
        amounts: of the budget, one a rung.
        planned: seeds of the plan.
        records: the runs that are done, failed ones included.
    """

    arms: tuple[str, ...]
    amounts: tuple[float, ...]
    planned: tuple[int, ...]
    records: tuple[RunRecord, ...]

    @staticmethod
    def of(study: Study, plan: PlanRecord, records: Sequence[RunRecord]) -> "RunTable":
        """The table of a study; runs of arms that it does not have are left out.

        Raises:
            InputError: where one run has two records.
        """
        arms, planned = tuple(study.arms), tuple(plan.seeds)
        place = {arm: number for number, arm in enumerate(arms)}
        order = {seed: number for number, seed in enumerate(planned)}
        known = [record for record in records if record.arm in place]
        known.sort(key=lambda r: (place[r.arm], r.rung, order.get(r.seed, len(order)), r.seed))
        keys = [(record.arm, record.rung, record.seed) for record in known]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        expect(twice is None, "one record of each run", f"two of {twice}", "leave one out")
        return RunTable(arms, tuple(study.budget.amounts), planned, tuple(known))

    @property
    def last(self) -> int:
        """The rung of the largest budget."""
        return len(self.amounts) - 1

    @property
    def seeds(self) -> tuple[int, ...]:
        """Planned seeds, and then those that were added."""
        return (*self.planned, *self.added)

    @property
    def added(self) -> tuple[int, ...]:
        """Seeds beyond the plan."""
        return tuple(sorted({record.seed for record in self.records} - {*self.planned}))

    def side(self, text: str) -> tuple[str, int]:
        """The arm of a claim and its rung: `masked@0.5` is masked with half of the largest budget."""
        arm = ArmAt.parse(text)
        goal = arm.part * self.amounts[-1]
        return arm.arm, min(range(len(self.amounts)), key=lambda rung: abs(self.amounts[rung] - goal))

    def of_arm(self, arm: str, rung: int) -> list[RunRecord]:
        """Its runs with this budget."""
        return [record for record in self.records if (record.arm, record.rung) == (arm, rung)]

    def failed(self, arm: str, rung: int) -> list[int]:
        """Seeds of its runs that gave no result."""
        return [record.seed for record in self.of_arm(arm, rung) if record.failed is not None]

    def values(self, arm: str, rung: int, number: str) -> dict[int, float]:
        """What its runs measured, by seed; of those that have the number."""
        runs = [record for record in self.of_arm(arm, rung) if record.failed is None]
        return {record.seed: record.numbers[number] for record in runs if number in record.numbers}

    def item_error(self, arm: str, rung: int, number: str) -> float | None:
        """Standard error over the items of one run's number, in the square mean of the runs."""
        runs = [record for record in self.of_arm(arm, rung) if record.failed is None]
        errors = [record.item_se[number] for record in runs if number in record.item_se]
        return math.sqrt(sum(error**2 for error in errors) / len(errors)) if errors else None

    def numbers(self) -> list[str]:
        """All numbers that any run has, in the order of the runs."""
        return list(dict.fromkeys(number for record in self.records for number in record.numbers))

    def done(self) -> list[int]:
        """Planned seeds of which every arm's run has ended, with every budget."""
        ended = {(record.arm, record.rung, record.seed) for record in self.records}
        runs = [(arm, rung) for arm in self.arms for rung in range(len(self.amounts))]
        return [seed for seed in self.planned if all((*run, seed) in ended for run in runs)]


@dataclass(frozen=True)
class Look:
    """How far the study is, and which of its seeds decide.

    Attributes:
        planned: numbers of seeds after which the claims are looked at.
        level: of each look: .05 over their number.
        done: planned seeds that are whole.
        seeds: those that the claims are tested on; where no look is reached, all that are whole.
        decides: whether a look is reached.
    """

    planned: tuple[int, ...]
    level: float
    done: tuple[int, ...]
    seeds: tuple[int, ...]
    decides: bool

    @staticmethod
    def of(study: Study, table: RunTable) -> "Look":
        """The last look that the study has reached: seeds after it wait for the next one."""
        planned = tuple(study.looks or [len(table.planned)])
        done = table.done()
        reached = [look for look in planned if look <= len(table.planned) and {*table.planned[:look]} <= {*done}]
        seeds = table.planned[: reached[-1]] if reached else tuple(done)
        return Look(planned, alpha_of_look(len(planned)), tuple(done), seeds, bool(reached))

    @property
    def progress(self) -> str:
        """How many seeds are done, in words; empty where all are.

        >>> Look((5,), 0.05, (0, 1, 2), (0, 1, 2), False).progress
        '3 of 5 seeds are done'
        """
        last = self.planned[-1]
        if len(self.done) >= last and self.decides:
            return ""
        said = f"{len(self.done)} of {last} seeds are done"
        return f"{said}; the verdicts are those of the look at {len(self.seeds)}" if self.decides else said
