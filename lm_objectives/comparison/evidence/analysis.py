"""All that the runs of a study say: a summary of each number by arm, the claims, and what budgets are worth."""

from collections.abc import Sequence
from dataclasses import dataclass

from lm_objectives.comparison.evidence.claims import ClaimTest, decide_claims
from lm_objectives.comparison.evidence.compute_gain import ComputeGain, compute_gain
from lm_objectives.comparison.evidence.metrics import complete, default_metric, direction, split
from lm_objectives.comparison.evidence.run_table import Look, RunTable
from lm_objectives.comparison.evidence.statistics import Difference, Mean, mean_over_seeds, paired_difference
from lm_objectives.comparison.records import PlanRecord, RunRecord
from lm_objectives.comparison.study import Study


@dataclass(frozen=True)
class ArmNumbers:
    """One number of one arm with one budget.

    Attributes:
        arm: its name.
        rung: the budget's.
        values: by seed.
        failed: seeds that gave no result.
        summary: over the seeds; `None` where the arm does not have the number.
        minus_first: the arm's value minus that of the study's first arm within each seed, whichever is better; `None`
            for the first arm, and where they have no seed in common.
        item_se: standard error over the items of one run's value, `None` where it has none.
    """

    arm: str
    rung: int
    values: dict[int, float]
    failed: tuple[int, ...]
    summary: Mean | None
    minus_first: Difference | None
    item_se: float | None


@dataclass(frozen=True)
class NumberSummary:
    """One number over all arms.

    Attributes:
        number: its whole name.
        arms: a row for each arm and rung, by rungs.
        chance: the mean over the runs of what knowing nothing gives; `None` where that is not known.
    """

    number: str
    arms: tuple[ArmNumbers, ...]
    chance: float | None

    def at(self, rung: int) -> list[ArmNumbers]:
        """The rows of one budget."""
        return [row for row in self.arms if row.rung == rung]


@dataclass(frozen=True)
class LadderGain:
    """How many times the budget one arm needs to be as good as another, for each rung.

    Attributes:
        number: by which they are compared.
        arm: whose budgets are the rungs.
        other: the one that needs more or less.
        rungs: one gain each.
    """

    number: str
    arm: str
    other: str
    rungs: tuple[ComputeGain, ...]


@dataclass(frozen=True)
class Analysis:
    """A study in numbers.

    Attributes:
        table: its runs.
        look: how far it is, and which seeds decide.
        numbers: every number that any run has.
        claims: each number of each claim.
        gains: where the budget is a ladder.
    """

    table: RunTable
    look: Look
    numbers: tuple[NumberSummary, ...]
    claims: tuple[ClaimTest, ...]
    gains: tuple[LadderGain, ...]

    def summary(self, number: str) -> NumberSummary | None:
        """That of a number, `None` where no run has it."""
        return next((summary for summary in self.numbers if summary.number == number), None)

    @property
    def shown(self) -> tuple[NumberSummary, ...]:
        """The numbers that stand first: those with a claim, or where there is none the main one of each reading."""
        claimed = {test.number for test in self.claims}
        main = {s.number for s in self.numbers if split(s.number)[2] == default_metric(split(s.number)[0])}
        return tuple(summary for summary in self.numbers if summary.number in (claimed or main))


def analyse(study: Study, plan: PlanRecord, records: Sequence[RunRecord]) -> Analysis:
    """What the runs of a study say; whichever order they come in, the answer is the same.

    Raises:
        InputError: for a claim on a number of which no direction is better.
    """
    table = RunTable.of(study, plan, records)
    look = Look.of(study, table)
    numbers = tuple(_summarise(number, table) for number in table.numbers())
    return Analysis(table, look, numbers, decide_claims(study.claims, table, look), _gains(study, table, look))


def _summarise(number: str, table: RunTable) -> NumberSummary:
    runs = [record for record in table.records if record.failed is None and number in record.chance]
    chance = sum(record.chance[number] for record in runs) / len(runs) if runs else None
    rungs = range(len(table.amounts))
    return NumberSummary(number, tuple(_row(number, arm, rung, table) for rung in rungs for arm in table.arms), chance)


def _row(number: str, arm: str, rung: int, table: RunTable) -> ArmNumbers:
    values, first = table.values(arm, rung, number), table.values(table.arms[0], rung, number)
    both = [seed for seed in values if seed in first]
    minus = None
    if both and arm != table.arms[0]:
        minus = paired_difference([values[seed] for seed in both], [first[seed] for seed in both], True)
    summary = mean_over_seeds([*values.values()]) if values else None
    failed, error = tuple(table.failed(arm, rung)), table.item_error(arm, rung, number)
    return ArmNumbers(arm, rung, values, failed, summary, minus, error)


def _gains(study: Study, table: RunTable, look: Look) -> tuple[LadderGain, ...]:
    """Of each claim that one arm is better, and of each arm against the first; nothing of a study with one budget."""
    if len(table.amounts) < 2:
        return ()
    claimed = [
        (complete(number), claim.arm, other)
        for claim in study.claims
        if claim.kind == "better"
        for number in claim.on
        for other in claim.others
        if "@" not in claim.arm + other
    ]
    main = [number for number in table.numbers() if split(number)[2] == default_metric(split(number)[0])]
    plain = [(number, arm, table.arms[0]) for number in main for arm in table.arms[1:]]
    gains = [_gain(*comparison, table, look) for comparison in dict.fromkeys([*claimed, *plain])]
    return tuple(gain for gain in gains if gain is not None)


def _gain(number: str, arm: str, other: str, table: RunTable, look: Look) -> LadderGain | None:
    """That of the seeds that both arms have on every rung; `None` without one."""
    rungs = range(len(table.amounts))
    values = {side: [table.values(side, rung, number) for rung in rungs] for side in (arm, other)}
    seeds = [seed for seed in look.seeds if all(seed in of for rows in values.values() for of in rows)]
    if not seeds or direction(number) is None:
        return None
    first, second = ([[of[seed] for of in values[side]] for seed in seeds] for side in (arm, other))
    return LadderGain(number, arm, other, compute_gain(table.amounts, first, second, direction(number) == "greater"))
