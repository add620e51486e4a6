"""The folder of a study: whose it is, what was planned in it, and one process at a time that plans or reports."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

from filelock import FileLock

from lm_objectives.comparison.planning.plan import StudyPlan
from lm_objectives.comparison.running.study_run import FAILED, RESULT, read_json
from lm_objectives.comparison.study import Study
from lm_objectives.comparison.study_file import study_of
from lm_objectives.errors import expect
from lm_objectives.files import atomic_write

_PLAN, _LOCK = "plan.json", ".lock"
_OURS = {_LOCK, f".{_PLAN}.part"}


class StudyFolder:
    """A study's folder, which holds one study.

    What decides is kept from the first run on that is done: seeds that count, claims, and when they are looked at.

    Args:
        study: which it is for.
    """

    def __init__(self, study: Study) -> None:
        self.study, self.root = study, study.output_folder
        self._file = self.root / _PLAN

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold it against other processes of the study, which wait; one into which nothing is written goes again."""
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.root / _LOCK):
                yield
        finally:
            if {path.name for path in self.root.iterdir()} <= _OURS:
                shutil.rmtree(self.root)

    def check(self) -> dict[str, Any]:
        """What an earlier start planned, nothing before the first.

        Raises:
            InputError: where it is of another study.
        """
        near = next(path for path in (self.root, *self.root.absolute().parents) if path.exists())
        expected = f"a folder to write to for output {self.root}"
        expect(near.is_dir() and os.access(near, os.W_OK), expected, f"{near}, which is none", "choose another")
        if not self._file.is_file():
            there = self.root.exists() and (not self.root.is_dir() or {p.name for p in self.root.iterdir()} - _OURS)
            expected = f"a new folder, or that of this study, for output {self.root}"
            expect(not there, expected, "another", "choose another")
            return {}
        before: dict[str, Any] = read_json(self._file, "give the study another output")
        arms = set(before["study"]["arms"])
        same = before["study"]["base"] == self.study.base and arms <= self.study.arms.keys()
        found = f"one of the base {', '.join(before['study']['base'])} with arms {', '.join(sorted(arms))}"
        expect(same, f"this study, or a part of it, in {self.root}", found, "give it an output of its own")
        unspent = before["study"]["budget"] == asdict(self.study.budget) or not self._has_results()
        mend = "give another output, or the budget that its runs had"
        expect(unspent, f"the budget of the runs in {self.root}", "another", mend)
        return before

    def planned(self, before: Mapping[str, Any]) -> tuple[Study, list[str]]:
        """The study as it was planned before any run was done: with these seeds, claims and looks.

        Returns:
            The study, and what to say of changes that came later.
        """
        study = self.study
        if not before or not self._has_results():
            return study, []
        first = study_of(before["planned"], str(self._file))
        said = []
        if first.claims != study.claims or first.looks != study.looks:
            said.append("claims or looks were changed after runs were done: those that were planned before are tested")
        return replace(study, claims=first.claims, looks=first.looks, seeds=first.seeds), said

    def save(self, plan: StudyPlan | None, before: Mapping[str, Any], more: Mapping[str, Any]) -> None:
        """Write what is planned.

        Args:
            plan: of the study; `None` before there is one.
            before: what an earlier start wrote.
            more: what the next start has to know besides.
        """
        study = {"study": asdict(self.study)}
        planned = before["planned"] if before and self._has_results() else asdict(self.study)
        content = {**(study if plan is None else plan.to_dict()), "planned": planned, **more}
        with atomic_write(self._file) as file:
            file.write(json.dumps(content, indent=1, ensure_ascii=False).encode())

    def _has_results(self) -> bool:
        runs = self.root / "runs"
        return any(next(runs.rglob(name), None) is not None for name in (RESULT, FAILED))
