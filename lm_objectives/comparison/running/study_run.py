"""One run of a study: where it lies, whether it is done, and whether its folder holds what the study asks for."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lm_objectives.comparison.study import Settings
from lm_objectives.errors import InputError
from lm_objectives.files import atomic_write

SETTINGS, RESULT, FAILED, LOG = "run.yaml", "result.json", "failed.json", "log.txt"
"""Files of a run's folder: what it is, what it came to, or why it did not, and what it said."""

SPENT, LOCK = "seconds.txt", ".study.lock"
"""How long a run has taken, over all starts; and what the process that makes it holds."""

_EVALUATION = "evaluation.json"
_ANEW = "remove it, and the same command evaluates anew"
_FREE = ("tracking.", "evaluation.tasks", "trainer.default_root_dir", "trainer.log_every_n_steps")
"""Settings that may change under a run: where it lies, how it is logged, and tasks, which may be added."""


@dataclass(frozen=True)
class StudyRun:
    """One training with its evaluation.

    Attributes:
        arm, seed, rung: which it is.
        root: the study's folder.
        folder: the run's, from there.
        settings: all of its settings.
    """

    arm: str
    seed: int
    rung: int
    root: Path
    folder: str
    settings: Settings

    @property
    def path(self) -> Path:
        """Its folder."""
        return self.root / self.folder

    def is_done(self) -> bool:
        """Whether it has its results on all tasks, or failed."""
        if (self.path / FAILED).is_file():
            return True
        file = self.path / RESULT
        if not file.is_file():
            return False
        done = read_json(file, _ANEW)["tasks"]
        return set(self.settings["evaluation"]["tasks"]) <= set(done)

    def finish(self) -> bool:
        """Keep the results of its evaluation as the study's, apart from what is evaluated there later by hand.

        Returns:
            Whether there are any, of a training of all steps.
        """
        file = self.path / _EVALUATION
        if not file.is_file():
            return False
        evaluation = read_json(file, _ANEW)
        if evaluation["model"]["steps"] != self.settings["trainer"]["max_steps"]:
            return False
        content = {"tasks": self.settings["evaluation"]["tasks"], "evaluation": evaluation}
        with atomic_write(self.path / RESULT) as whole:
            whole.write(json.dumps(content, indent=1, ensure_ascii=False).encode())
        return True

    def result(self) -> dict[str, Any]:
        """Its evaluation, as `evaluation.json` has it."""
        found: dict[str, Any] = read_json(self.path / RESULT, _ANEW)["evaluation"]
        return found

    def fail(self, reason: str, code: int) -> None:
        """Note why it gave no result; it is not made again."""
        with atomic_write(self.path / FAILED) as file:
            file.write(json.dumps({"reason": reason, "exit_code": code}).encode())

    def failure(self) -> str | None:
        """Why it failed."""
        file = self.path / FAILED
        return read_json(file, "remove it")["reason"] if file.is_file() else None

    def check_settings(self) -> None:
        """Raise where its folder holds a run of other settings.

        Raises:
            InputError: which names the first of them.
        """
        file = self.path / SETTINGS
        if not file.is_file():
            return
        before, now = (dict(_flatten(s)) for s in (yaml.safe_load(file.read_text(encoding="utf-8")), self.settings))
        keys = sorted(before.keys() | now.keys(), key=lambda key: (key != "trainer.max_steps", key))
        for key in keys:
            if before.get(key) != now.get(key) and not key.startswith(_FREE):
                raise InputError(
                    f"expected the study to ask for what its runs were, found {self.path} with {key} "
                    f"{before.get(key, 'unset')}, and now {now.get(key, 'unset')}: give another output, or remove that "
                    "folder"
                )


def read_json(file: Path, mend: str) -> Any:
    """What a file of a study's folder holds.

    Raises:
        InputError: for one that was damaged.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"expected {file} as it was written, found another content ({error}): {mend}") from error


def _flatten(settings: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(settings, dict) and settings:
        for name, value in settings.items():
            yield from _flatten(value, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, settings
