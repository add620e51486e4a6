"""A study's answer for the terminal: a table for each number that stands first, and the verdicts."""

from collections.abc import Sequence

from lm_objectives.comparison.evidence.analysis import Analysis, ArmNumbers, LadderGain, NumberSummary
from lm_objectives.comparison.evidence.claims import ClaimTest
from lm_objectives.comparison.evidence.metrics import (
    describe,
    direction,
    format_difference,
    format_plain,
    is_percent,
    split,
    unit,
)
from lm_objectives.comparison.evidence.statistics import Interval
from lm_objectives.comparison.records import PlanRecord
from lm_objectives.comparison.report.verdicts import SUM_OF_PARTS, is_sum_of_parts, sentence, short
from lm_objectives.comparison.wording import ABSENT, amount, count
from lm_objectives.tables import format_table


def terminal_text(plan: PlanRecord, analysis: Analysis, warnings: Sequence[str]) -> str:
    """Tables, verdicts, gains of a ladder, failed runs and warnings."""
    last = analysis.table.last
    parts = []
    for summary in analysis.shown:
        seeds = max(len(row.values) for row in summary.at(last))
        name = f"{describe(summary.number)} ({unit_text(summary.number)})"
        table = format_table(headings(analysis), rows_of(summary, last, analysis))
        parts.append(f"{name}    {count(seeds, 'seed')}, {budget_text(plan, analysis)}\n{table}")
    verdicts = verdict_lines(plan, analysis)
    indent = len(SUM_OF_PARTS) + 2 if any(line.startswith(SUM_OF_PARTS) for line in verdicts) else 0
    parts.append("\n".join(line if line.startswith(SUM_OF_PARTS) else " " * indent + line for line in verdicts))
    parts.append("\n".join(gain_texts(analysis)))
    parts.append("\n".join(f"failed: {line}" for line in failed_runs(analysis)))
    parts.append("\n".join(f"! {line}" for line in warnings))
    return "\n\n".join(part for part in parts if part)


def budget_text(plan: PlanRecord, analysis: Analysis) -> str:
    """What each run of the tables may spend."""
    return f"each with {'the largest of ' * bool(analysis.table.last)}{plan.budget}"


def unit_text(number: str) -> str:
    """The unit of a number, and which way is better."""
    metric, known = split(number)[2], unit(number)
    if is_percent(number):
        known = f"{metric.replace('_', ' ')}, %"
    return f"{known}, less is better" if direction(number) == "smaller" else known


def headings(analysis: Analysis) -> list[str]:
    """Those of a table of one number."""
    return ["arm", "mean", "95 % CI", "seeds", f"- {analysis.table.arms[0]}", "95 % CI of it", "verdict"]


def rows_of(summary: NumberSummary, rung: int, analysis: Analysis) -> list[list[str]]:
    """A row for each arm with one budget, with a verdict where a claim holds it against the first arm."""
    number, seeds = summary.number, analysis.table.seeds
    rows = []
    for row in summary.at(rung):
        if row.summary is None:
            rows.append([row.arm, *[ABSENT] * 5, _failures(row)])
            continue
        difference = row.minus_first
        interval = None if difference is None else difference.interval
        said = [_verdict(row.arm, number, analysis) if rung == analysis.table.last else "", _failures(row)]
        rows.append(
            [
                row.arm,
                format_plain(number, row.summary.mean),
                _interval(number, row.summary.interval),
                " ".join(format_plain(number, row.values[seed]) if seed in row.values else ABSENT for seed in seeds),
                "" if difference is None else format_difference(number, difference.mean),
                "" if difference is None else ABSENT if interval is None else _signed(number, interval),
                "; ".join(filter(None, said)),
            ]
        )
    return rows


def verdict_lines(plan: PlanRecord, analysis: Analysis) -> list[str]:
    """A sentence for each number of each claim."""
    return [
        f"{SUM_OF_PARTS}  {sentence(test)}" if is_sum_of_parts(test.claim, plan) else sentence(test)
        for test in analysis.claims
    ]


def gain_texts(analysis: Analysis) -> list[str]:
    """What arms' budgets are worth in those of others, and how many comparisons lie beyond the ladder altogether."""
    within = [gain_text(gain) for gain in analysis.gains if any(rung.mean is not None for rung in gain.rungs)]
    beyond = len(analysis.gains) - len(within)
    return within + [f"{count(beyond, 'comparison')} of arms beyond the ladder with every budget"] * (beyond > 0)


def gain_text(gain: LadderGain) -> str:
    """What an arm's budgets are worth in those of another."""
    said = []
    for rung in gain.rungs:
        if rung.mean is None:
            said.append(f"{amount(rung.compute)} beyond the ladder")
            continue
        ends = "" if rung.interval is None else f", {rung.interval.low:.2f} to {rung.interval.high:.2f}"
        said.append(f"{amount(rung.compute)} is worth {amount(rung.compute * rung.mean)} ({rung.mean:.2f} times{ends})")
    return f"{gain.arm} in budgets of {gain.other} on {describe(gain.number)}: {'; '.join(said)}"


def failed_runs(analysis: Analysis) -> list[str]:
    """Each failed run and why."""
    return [
        f"{run.arm}, seed {run.seed}{f', rung {run.rung}' if analysis.table.last else ''}: {run.failed}"
        for run in analysis.table.records
        if run.failed is not None
    ]


def _failures(row: ArmNumbers) -> str:
    runs = len(row.failed) + len(row.values)
    return f"{len(row.failed)} of {count(runs, 'run')} failed" if row.failed else ""


def _verdict(arm: str, number: str, analysis: Analysis) -> str:
    """In a few words, that of the claims that hold this arm against the first one alone."""
    first = analysis.table.arms[0]
    tests = [test for test in analysis.claims if test.number == number and _is_between(test, arm, first)]
    return "; ".join(dict.fromkeys(short(test) for test in tests))


def _is_between(test: ClaimTest, arm: str, first: str) -> bool:
    return test.claim.arm == arm and test.claim.others == [first]


def _interval(number: str, interval: Interval | None) -> str:
    if interval is None:
        return ABSENT
    return f"{format_plain(number, interval.low)} to {format_plain(number, interval.high)}"


def _signed(number: str, interval: Interval) -> str:
    return f"{format_difference(number, interval.low)} to {format_difference(number, interval.high)}"
