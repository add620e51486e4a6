"""What a reader of a study has to know before he believes it, one line each."""

from collections.abc import Iterable, Sequence

from lm_objectives.comparison.evidence.analysis import Analysis, NumberSummary, analyse
from lm_objectives.comparison.evidence.metrics import complete, describe, direction, split
from lm_objectives.comparison.evidence.power import smallest_detectable
from lm_objectives.comparison.evidence.run_table import RunTable
from lm_objectives.comparison.evidence.statistics import LEAST_SEEDS
from lm_objectives.comparison.records import PlanRecord, RunRecord
from lm_objectives.comparison.study import Study
from lm_objectives.comparison.wording import ABSENT, count

_ENOUGH_SEEDS = 5
_MOST_PARAMETERS = 0.01  # by which arms may differ without a word


def warnings_of(study: Study, plan: PlanRecord, records: Sequence[RunRecord]) -> list[str]:
    """What plan and records say against a study's numbers, the plan's own warnings left out.

    Before the first run has ended, what the plan alone says.
    """
    analysis = analyse(study, plan, records)
    lines = [
        *_few_seeds(analysis),
        *_added_seeds(analysis),
        *_tuning(study),
        *_parameters(plan, analysis.table),
        *_epochs(plan, analysis.table),
        *_pairing(plan),
        *_machines(analysis.table),
        *_skipped_steps(analysis.table),
        *_absent_numbers(analysis),
        *_at_chance(study, analysis),
        *_few_items(study, analysis),
    ]
    return list(dict.fromkeys(lines))


def all_warnings(study: Study, plan: PlanRecord, records: Sequence[RunRecord]) -> list[str]:
    """Those that were known beforehand and those of the records, each once."""
    return list(dict.fromkeys([*plan.warnings, *warnings_of(study, plan, records)]))


def _few_seeds(analysis: Analysis) -> Iterable[str]:
    seeds = len(analysis.table.planned)
    if seeds < LEAST_SEEDS:
        yield f"{count(seeds, 'seed')}: a run tells little of its arm, and nothing is decided below {LEAST_SEEDS}"
    elif seeds < _ENOUGH_SEEDS:
        least = smallest_detectable(seeds, alpha=analysis.look.level)
        yield f"{seeds} seeds show only differences of {least:.1f} sd of the differences or more (with 80 %)"
    if analysis.table.records and analysis.look.progress:
        yield analysis.look.progress


def _added_seeds(analysis: Analysis) -> Iterable[str]:
    added = analysis.table.added
    if added:
        names = f"seed{'s' * (len(added) > 1)} {', '.join(map(str, added))}"
        yield f"{names} came on top of the plan: shown with the others, but no verdict uses them"


def _tuning(study: Study) -> Iterable[str]:
    if study.tune is None and len(study.arms) > 1:
        yield "settings were not tuned per arm"


def _parameters(plan: PlanRecord, table: RunTable) -> Iterable[str]:
    planned = {arm.arm: arm.parameters for arm in plan.arms if arm.rung == table.last}
    trained = {run.arm: run.parameters for run in table.records if run.parameters}
    sizes = planned | trained
    if sizes and max(sizes.values()) > (1 + _MOST_PARAMETERS) * min(sizes.values()):
        more = 100 * (max(sizes.values()) / min(sizes.values()) - 1)
        said = ", ".join(f"{arm} {size / 1e6:.2f} M" for arm, size in sizes.items())
        yield f"arms differ in parameters by up to {more:.0f} %: {said}"


def _epochs(plan: PlanRecord, table: RunTable) -> Iterable[str]:
    epochs = {arm.arm: arm.epochs for arm in plan.arms if arm.rung == table.last}
    if any(times > 1 for times in epochs.values()):
        said = ", ".join(f"{arm} {times:.1f}" for arm, times in epochs.items())
        yield f"the text is read more than once, and mixes gain from repeated text: epochs of {said}"


def _pairing(plan: PlanRecord) -> Iterable[str]:
    groups = plan.pairing.same_start
    if len(groups) > 1:
        apart = " | ".join(", ".join(group) for group in groups)
        yield f"arms of a seed do not all start from the same weights ({apart}): seeds pair them less"
    for objective, groups in plan.pairing.same_rows.items():
        if len(groups) > 1:
            apart = " | ".join(", ".join(group) for group in groups)
            yield f"arms of a seed read different rows of {objective} ({apart}): seeds pair them less"


def _machines(table: RunTable) -> Iterable[str]:
    devices = sorted({run.device for run in table.records if run.device})
    if len(devices) > 1:
        yield f"runs were evaluated on different devices: {', '.join(devices)}"
    packages = sorted({package for run in table.records for package in run.versions})
    for package in packages:
        versions = sorted({run.versions[package] for run in table.records if package in run.versions})
        if len(versions) > 1:
            yield f"runs have different versions of {package}: {', '.join(versions)}"


def _skipped_steps(table: RunTable) -> Iterable[str]:
    for arm in table.arms:
        skipped = [run.skipped for run in table.records if run.arm == arm and run.skipped]
        if skipped:
            runs = sum(run.arm == arm for run in table.records)
            steps = count(sum(skipped), "optimizer step")
            yield f"{arm} left out {steps}, infinite or NaN, in {len(skipped)} of {count(runs, 'run')}"


def _absent_numbers(analysis: Analysis) -> Iterable[str]:
    """Readings and tasks that an arm does not have at all, and numbers that only some of its runs have."""
    table = analysis.table
    for arm in table.arms:
        rows = {s.number: row for s in analysis.numbers for row in s.at(table.last) if row.arm == arm}
        runs = [run for run in table.of_arm(arm, table.last) if run.failed is None]
        if not runs:
            continue
        without = dict.fromkeys("/".join(split(number)[:2]) for number, row in rows.items() if not row.values)
        if without:
            yield f"{arm} does not have all numbers, {ABSENT} in the tables: none of {', '.join(without)}"
        partly = [number for number, row in rows.items() if 0 < len(row.values) < len(runs)]
        for number in partly:
            missing = len(runs) - len(rows[number].values)
            yield f"{describe(number)} is missing in {missing} of {count(len(runs), 'run')} of {arm}"


def _at_chance(study: Study, analysis: Analysis) -> Iterable[str]:
    claimed = dict.fromkeys(complete(number) for claim in study.claims for number in claim.on)
    for number in claimed:
        summary = analysis.summary(number)
        if summary is not None and summary.chance is not None and _none_above(summary, summary.chance, analysis):
            yield f"all arms are at chance or worse on {describe(number)}: a claim on it compares noise"


def _none_above(summary: NumberSummary, chance: float, analysis: Analysis) -> bool:
    """Whether no arm is better than chance beyond its interval over seeds, or that over items where it has none."""
    sign = 1 if direction(summary.number) == "greater" else -1
    for row in summary.at(analysis.table.last):
        if row.summary is not None:
            mean, interval = row.summary.mean, row.summary.interval
            half = 2 * (row.item_se or 0.0) if interval is None else interval.high - mean
            if sign * (mean - chance) > half:
                return False
    return True


def _few_items(study: Study, analysis: Analysis) -> Iterable[str]:
    mend = "raise evaluate.items" if study.evaluate.items else "more items would help, but all are used"
    for test in analysis.claims:
        for contrast in test.contrasts:
            if contrast.more_items_help:
                pair = f"{contrast.arm} and {contrast.other}"
                yield f"{describe(test.number)} of {pair} varies more by items than by seeds: {mend}"
