"""The command `compare`: which mix of objectives is better at equal compute, and how sure are we?"""

import re
from pathlib import Path
from typing import Any

from lm_objectives.cli.configs import find_config
from lm_objectives.cli.experiments import READER
from lm_objectives.comparison.compare import run_study
from lm_objectives.comparison.records import RunRecord
from lm_objectives.comparison.study_file import read_study, study_of
from lm_objectives.errors import expect
from lm_objectives.ranges import is_within

_PART = re.compile(r"(\d+)/(\d+)")


def compare(
    study: str | dict[str, Any],
    dry_run: bool = False,
    jobs: int = 1,
    part: str | None = None,
    submit: str | None = None,
    report: bool = False,
) -> list[RunRecord]:
    """Train the arms of a study over several seeds at equal compute, evaluate each model, and say what they show.

    Each run is an ordinary training in a folder of its own below the study's output. The same command goes on with
    whatever is missing. Prints the plan and the report, and writes report.md, report.html and results.json.

    Args:
        study: its YAML file, or the name of a shipped one; from Python also what would stand in it. It has base, arms,
            seeds, budget, evaluate, claims, output.
        dry_run: print the plan, for which ten steps of each arm are timed, and write no run.
        jobs: runs at a time, dealt to the GPUs that there are; each has its part of the CPU's threads.
        part: makes one part of the runs alone, such as 2/8, for a scheduler that starts one process each.
        submit: YAML file of a SLURM cluster; each run is submitted as a job of its own, by submitit.
        report: report what is done, and train nothing.

    Returns:
        A record of each run that is done.

    Raises:
        InputError: where the study, or what its folder holds, cannot be used.
    """
    read = study_of(study, "the study") if isinstance(study, dict) else read_study(find_study(study))
    expect(is_within(jobs, 1, 1024), "jobs of at least 1", jobs, "1 makes one run after another")
    expect(submit is None or part is None, "submit or part", "both", "give one of them")
    make = None
    if submit is not None:
        from lm_objectives.comparison.running.slurm import Cluster

        make = Cluster.read(submit).make
    return run_study(read, READER, dry_run=dry_run, jobs=jobs, part=_part_of(part), report=report, submit=make)


def find_study(name: str) -> Path:
    """The file of a study: itself, or the shipped one of that name."""
    path = Path(name).expanduser()
    return path if path.is_file() or path.suffix else find_config(f"studies/{name.removeprefix('studies/')}")


def _part_of(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = _PART.fullmatch(text)
    number, parts = map(int, found.groups()) if found else (0, 0)
    mend = "1/8 is the first of eight"
    expect(1 <= number <= parts, "a part as number/parts, the number from 1 to parts", repr(text), mend)
    return number, parts
