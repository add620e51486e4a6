"""Run a study: plan it, tune it, make its runs, and report what they show."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from lightning.pytorch.utilities.exceptions import SIGTERMException

from lm_objectives.comparison.planning.describe import describe_plan
from lm_objectives.comparison.planning.experiment import ExperimentReader
from lm_objectives.comparison.planning.plan import make_plan
from lm_objectives.comparison.planning.planner import Planner
from lm_objectives.comparison.planning.tuning import TuningRuns, tuning_timings
from lm_objectives.comparison.records import RunRecord
from lm_objectives.comparison.report.warnings import warnings_of
from lm_objectives.comparison.report.write import write_report
from lm_objectives.comparison.running.collect import collect
from lm_objectives.comparison.running.machine import threads_of, visible_devices
from lm_objectives.comparison.running.runs import RunQueue, say
from lm_objectives.comparison.running.study_run import StudyRun
from lm_objectives.comparison.study import Study
from lm_objectives.comparison.study_folder import StudyFolder
from lm_objectives.comparison.tracking import log_study
from lm_objectives.errors import expect
from lm_objectives.plugin import import_modules

Maker = Callable[[list[StudyRun]], bool]
"""Makes runs, and says whether all of them have ended."""


def run_study(
    study: Study,
    reader: ExperimentReader,
    *,
    dry_run: bool = False,
    jobs: int = 1,
    part: tuple[int, int] | None = None,
    report: bool = False,
    submit: Maker | None = None,
) -> list[RunRecord]:
    """Run a study, or go on with it.

    Args:
        study: what is compared.
        reader: reads settings as `fit` does.
        dry_run: print the plan, and write nothing but the token cache of the corpus.
        jobs: runs at a time.
        part: of the runs, number and how many parts there are; the others are made elsewhere.
        report: report what is done, and make no run.
        submit: makes runs in place of this process, elsewhere perhaps: nothing is timed here.

    Returns:
        The records of the runs that are done.

    Raises:
        InputError: where the study cannot be carried out.
    """
    expect(not (dry_run and report), "dry_run or report", "both", "give one of them")
    import_modules(study.import_module)
    timed = submit is None
    mend = "give FLOPs, tokens or steps_of, which are the same everywhere"
    expect(timed or study.budget.kind != "seconds", "a budget that does not depend on the machine", "seconds", mend)
    folder = StudyFolder(study)
    before = folder.check()
    threads = int(before["threads"]) if before else threads_of(jobs)
    if timed and threads * jobs > threads_of(1) and threads > 1:
        say(f"{jobs} runs of {threads} threads, as the study began, share {threads_of(1)} cores")
    planner = Planner(study, reader, threads)
    make = submit or _local(RunQueue(threads, visible_devices() if jobs > 1 else [], say), jobs)
    chosen: Mapping[str, Mapping[str, Any]] = {}
    if study.tune is not None and not dry_run:
        if report:
            tuning = TuningRuns(planner, before.get("tuning_timings", {}))
        else:
            with folder.held():
                before = folder.check()
                timings = before["tuning_timings"] if before else tuning_timings(planner)
                tuning = TuningRuns(planner, timings)  # which refuses what cannot be carried out
                if not before:
                    folder.save(None, before, {"threads": threads, "tuning_timings": timings})
                    before = folder.check()
        runs = tuning.in_order()
        if not report:
            make(_part_of(runs, part))
        if not all(run.is_done() for run in runs):
            say("tuning is not done: give the same command again once all of its runs have ended")
            return []
        chosen = tuning.choose()
    if dry_run or report:
        plan = make_plan(planner, chosen, before, timed)
        if report:
            plan.check_runs()
    else:
        with folder.held():
            before = folder.check()
            plan = make_plan(planner, chosen, before, timed)
            plan.check_runs()
            kept = {key: before[key] for key in ("tuning_timings",) if key in before}
            folder.save(plan, before, {"threads": threads, **kept})
    first, changed = folder.planned(before)
    record = replace(plan.record, seeds=first.seed_list, warnings=[*plan.record.warnings, *changed])
    print(describe_plan(record, study.name), flush=True)
    print("\n".join(f"! {line}" for line in warnings_of(first, record, []) if line not in record.warnings), flush=True)
    if dry_run:
        return []
    runs = plan.runs()
    if not report:
        make(_part_of(runs, part))
    records = collect(runs)
    mend = "leave out --report, and they are made"
    expect(bool(records) or not report, f"runs in {folder.root} to report", "none that is done", mend)
    if not records:
        say("no run is done yet: the report comes by --report")
        return []
    with folder.held():
        print(f"\n{write_report(first, record, records, folder.root)}")
        claims = json.loads((folder.root / "results.json").read_text(encoding="utf-8"))["claims"]
        tracking = next(iter(plan.settings.values()))["tracking"]
        log_study(study.name, tracking["project"], tracking["wandb"], records, claims, folder.root)
    return records


def _local(queue: RunQueue, jobs: int) -> Maker:
    def make(runs: list[StudyRun]) -> bool:
        try:
            queue.make(runs, jobs)
        except (KeyboardInterrupt, SIGTERMException):
            say("stopped: the same command goes on")
            raise
        return all(run.is_done() for run in runs)

    return make


def _part_of(runs: list[StudyRun], part: tuple[int, int] | None) -> list[StudyRun]:
    return runs if part is None else runs[part[0] - 1 :: part[1]]
