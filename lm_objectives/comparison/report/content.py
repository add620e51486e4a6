"""What a study's report says, from the verdicts to the cost."""

from collections.abc import Iterable, Mapping, Sequence

from lm_objectives.comparison.evidence.analysis import Analysis, ArmNumbers
from lm_objectives.comparison.evidence.claims import ClaimTest, Contrast
from lm_objectives.comparison.evidence.metrics import (
    describe,
    format_amount,
    format_difference,
    format_p,
    format_plain,
    format_range,
    format_value,
    split,
    unit,
)
from lm_objectives.comparison.records import PlanRecord
from lm_objectives.comparison.report.blocks import Block, Bullets, Heading, Paragraph, Picture, Table
from lm_objectives.comparison.report.pictures import picture_name
from lm_objectives.comparison.report.settings import settings_of, versions_of
from lm_objectives.comparison.report.terminal import (
    budget_text,
    failed_runs,
    gain_texts,
    headings,
    rows_of,
    unit_text,
    verdict_lines,
)
from lm_objectives.comparison.report.verdicts import claim_text
from lm_objectives.comparison.study import Study
from lm_objectives.comparison.wording import ABSENT, amount, count, minutes

COST = "Cost"
"""The last section, which alone has times."""

_HOW_TO_READ = (
    "The unit of evidence is a training run: intervals cover 95 % by t over seeds, one number each, and are not "
    "adjusted. Only planned claims are tested, by differences within seeds; their p-values are adjusted by Holm over "
    "all claims and numbers. A claim against several arms has the largest of its one-sided p-values. All else is "
    "description."
)


def content_of(
    study: Study, plan: PlanRecord, analysis: Analysis, warnings: Sequence[str], pictures: Mapping[str, bytes]
) -> list[Block]:
    """The blocks of a report, for each of the pictures that there are."""
    arms, seeds = count(len(study.arms), "arm"), count(len(plan.seeds), "seed")
    return [
        Heading(f"Study {study.name}", 1),
        Paragraph(f"{arms}, {seeds}, {budget_text(plan, analysis)}."),
        Heading("Verdicts"),
        Bullets(verdict_lines(plan, analysis) or ["No claim was planned: what follows is description."]),
        Paragraph(_HOW_TO_READ),
        *_shown(analysis, pictures),
        *_evidence(analysis),
        *_all_numbers(analysis),
        *_ladder(analysis, pictures),
        *_training(pictures),
        Heading("Settings"),
        Bullets([f"{name}: {value}" for name, value in settings_of(study, plan).items()]),
        Heading("Warnings"),
        Bullets(warnings or ["none"]),
        Heading("Versions"),
        Bullets([f"{package} {', '.join(found)}" for package, found in versions_of(analysis).items()] or ["not known"]),
        Heading("Failed runs"),
        Bullets(failed_runs(analysis) or ["none"]),
        *_cost(plan, analysis),
    ]


def _shown(analysis: Analysis, pictures: Mapping[str, bytes]) -> Iterable[Block]:
    for summary in analysis.shown:
        yield Heading(f"{describe(summary.number)} ({unit_text(summary.number)})")
        yield Table(headings(analysis), rows_of(summary, analysis.table.last, analysis))
        if summary.chance is not None:
            yield Paragraph(f"Knowing nothing gives {format_value(summary.number, summary.chance)}.")
        name = picture_name(summary.number)
        if name in pictures:
            yield Picture(name, f"{describe(summary.number)}: one dot a run, joined within seeds; differences")


def _evidence(analysis: Analysis) -> Iterable[Block]:
    if analysis.claims:
        yield Heading("Evidence for the claims")
        yield Paragraph(
            "+ is better for the claim's first arm. “Sign flips” need no distribution and are given from 6 seeds on. "
            "Arms that correlate over seeds gain by pairing. “Could show” is what so many seeds show with 80 % by one "
            "two-sided test."
        )
        names = ("claim", "on", "against", "difference", "95 % CI", "won (P of a win)", "t", "p", "Holm p")
        more = ("sign flips", "correlation", "sd over seeds", "se over items", "could show", "seeds needed")
        yield Table((*names, *more), [_claim_row(test, c) for test in analysis.claims for c in test.contrasts])


def _claim_row(test: ClaimTest, contrast: Contrast) -> list[str]:
    number, difference, wins = test.number, contrast.difference, contrast.wins
    start = [claim_text(test.claim, number), describe(number), contrast.other]
    if difference is None or wins is None:
        return [*start, *[ABSENT] * 12]
    interval, flips = difference.interval, contrast.sign_flip_p
    return [
        *start,
        f"{format_difference(number, difference.mean)} {unit(number)}",
        ABSENT if interval is None else format_range(number, interval.low, interval.high),
        f"{wins.won} of {len(contrast.seeds)} (≥ {wins.low:.2f})",
        _or_absent(difference.t, "{:.2f}"),
        ABSENT if test.p is None else format_p(test.p),
        ABSENT if test.adjusted is None else format_p(test.adjusted, test.level),
        ABSENT if flips is None else format_p(flips),
        _or_absent(difference.correlation, "{:.2f}"),
        ABSENT if difference.sd is None else format_amount(number, difference.sd),
        ABSENT if contrast.item_se is None else format_amount(number, contrast.item_se),
        ABSENT if test.could_show is None else format_amount(number, test.could_show),
        ABSENT if test.needed is None else f"{test.needed:,}",
    ]


def _all_numbers(analysis: Analysis) -> Iterable[Block]:
    table = analysis.table
    if analysis.numbers:
        yield Heading("All numbers")
        yield Paragraph(
            f"Means over seeds with 95 % intervals, with the largest budget; {ABSENT} where an arm has none."
        )
        rows = []
        for summary in analysis.numbers:
            task, reading, metric = split(summary.number)
            means = [_mean(summary.number, row) for row in summary.at(table.last)]
            rows.append([task, reading, metric.replace("_", " "), *means])
        yield Table(("task", "read as", "metric", *table.arms), rows)


def _mean(number: str, row: ArmNumbers) -> str:
    if row.summary is None:
        return ABSENT
    interval, value = row.summary.interval, format_value(number, row.summary.mean)
    if interval is None:
        return value
    return f"{value} ({format_plain(number, interval.low)} to {format_plain(number, interval.high)})"


def _ladder(analysis: Analysis, pictures: Mapping[str, bytes]) -> Iterable[Block]:
    table = analysis.table
    if not table.last:
        return
    yield Heading("Ladder of budgets")
    gains = gain_texts(analysis)
    if gains:
        yield Paragraph(
            "How much of its own budget the other arm needs to be as good: log-linear between the rungs, by seed. "
            "Nothing is extrapolated, so the largest budgets can be worth more than the ladder has."
        )
        yield Bullets(gains)
    if "ladder.png" in pictures:
        yield Picture("ladder.png", "numbers over the budget, one dot a run")
    for summary in analysis.shown:
        for rung in range(table.last):
            yield Heading(f"{describe(summary.number)} with {amount(table.amounts[rung])}", 3)
            yield Table(headings(analysis)[:-1], [row[:-1] for row in rows_of(summary, rung, analysis)])


def _training(pictures: Mapping[str, bytes]) -> Iterable[Block]:
    shows = {"curves.png": "held-out losses over model FLOPs, a line a run", "weights.png": "weights over the steps"}
    if shows.keys() & pictures.keys():
        yield Heading("Over the training")
        yield from (Picture(name, text) for name, text in shows.items() if name in pictures)


def _cost(plan: PlanRecord, analysis: Analysis) -> Iterable[Block]:
    table = analysis.table
    yield Heading(COST)
    rows = []
    for arm in plan.arms:
        runs = table.of_arm(arm.arm, arm.rung)
        rows.append(
            [
                arm.arm,
                amount(table.amounts[arm.rung]),
                f"{len(runs)} of {len(plan.seeds)}",
                ABSENT if arm.flops is None else amount(arm.flops * len(plan.seeds)),
                amount(sum((run.flops for run in runs), 0.0)),
                ABSENT if arm.seconds is None else minutes(arm.seconds * len(plan.seeds)),
                minutes(sum((run.seconds for run in runs), 0.0)),
            ]
        )
    names = ("arm", "budget", "runs", "FLOPs planned", "FLOPs spent", "time planned for training", "time spent")
    yield Table(names, rows)
    yield Paragraph(_total(plan, analysis))


def _total(plan: PlanRecord, analysis: Analysis) -> str:
    spent = minutes(sum((run.seconds for run in analysis.table.records), 0.0))
    seconds = [arm.seconds for arm in plan.arms if arm.seconds is not None]
    planned = f"; {minutes(sum(seconds) * len(plan.seeds))} were planned for training" if seconds else ""
    disk = "" if plan.megabytes is None else f"; about {plan.megabytes:,.0f} MB on disk"
    return f"{spent} of training and evaluation, one run after another{planned}{disk}."


def _or_absent(value: float | None, form: str) -> str:
    return ABSENT if value is None else form.format(value)
