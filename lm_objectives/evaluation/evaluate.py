"""Evaluate a model: choose readings and tasks, run them, and put the results together."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from difflib import get_close_matches
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import torch

from lm_objectives.errors import InputError, expect
from lm_objectives.evaluation.halves import Documents, held_out_half
from lm_objectives.evaluation.model import EvaluatedModel
from lm_objectives.evaluation.readings.base import Reading
from lm_objectives.evaluation.results import SCHEMA, Evaluation, Result
from lm_objectives.evaluation.scorer import Precision
from lm_objectives.evaluation.store import ItemStore
from lm_objectives.evaluation.tasks.base import Session, Task
from lm_objectives.evaluation.tasks.files import read_task
from lm_objectives.evaluation.tasks.held_out import HeldOut
from lm_objectives.evaluation.tasks.probes import Probes
from lm_objectives.evaluation.tasks.swaps import Swaps
from lm_objectives.ranges import is_within
from lm_objectives.training.module import Pretraining

TASKS: dict[str, type[Task]] = {"held_out": HeldOut, "swaps": Swaps, "probes": Probes}
"""Tasks that are made from a run's own held-out documents, by name."""


def make_tasks(names: Sequence[str]) -> list[Task]:
    """The tasks of a list: those of `TASKS` by name, and those of files as `name=path`.

    Raises:
        InputError: for an unknown name, one that stands twice, and where a file cannot be read.
    """
    check_names(names)
    split = [entry.partition("=") for entry in names]
    tasks = [read_task(name, path) if equals else TASKS[name]() for name, equals, path in split]
    for task in tasks:
        check_installed(task)
    repeated = sorted({task.name for task in tasks if [t.name for t in tasks].count(task.name) > 1})
    expect(not repeated, "each task once", f"{', '.join(repeated)} twice", "leave one out")
    return tasks


def check_names(names: Sequence[str]) -> None:
    """Raise for a list of tasks with one that there is not, before any file is read."""
    known = f"{', '.join(TASKS)}, or name=path of a file"
    expect(not isinstance(names, str), f"a list of tasks: {known}", repr(names), f"write [{names!r}]")
    expect(bool(names), f"tasks: {known}", "none", "leave tasks out for the first three")
    for entry in names:
        name, equals, path = entry.partition("=")
        near = get_close_matches(name, TASKS, 1)
        hint = f"did you mean {near[0]}?" if near else "give a file as name=path"
        expect(bool(equals) or name in TASKS, f"a task of {known}", repr(entry), hint)
        expect(not equals or bool(name and path), "a task from a file as name=path", repr(entry), "give both")
        taken = name in TASKS if equals else False
        expect(not taken, "a name of its own for a task from a file", repr(name), f"it is one of {', '.join(TASKS)}")


def check_installed(task: Task) -> None:
    """Raise where what a task needs is not there."""
    found = not task.needs_scikit_learn or find_spec("sklearn") is not None
    expect(found, f"scikit-learn for {task.name}", "none", 'pip install "lm-objectives[evaluate]"')


def choose_readings(readings: Mapping[str, Reading], wanted: Sequence[str] | None) -> dict[str, Reading]:
    """The readings of these names, in the model's order; all where none is named.

    Raises:
        InputError: for one that the model does not have.
    """
    have = ", ".join(readings) or "none"
    expect(not isinstance(wanted, str), f"a list of readings: {have}", repr(wanted), f"write [{wanted!r}]")
    for name in wanted or ():
        near = get_close_matches(name, readings, 1)
        mend = f"did you mean {near[0]}?" if near else "another objective has it, or none"
        expect(name in readings, f"readings that this model has, {have}", repr(name), mend)
    return {name: reading for name, reading in readings.items() if not wanted or name in wanted}


def check_settings(items: int, batch_tokens: int, seed: int, precision: str, documents: str) -> None:
    """Raise where a setting is out of its range."""
    expect(is_within(items, 0), "items of at least 0", items, "0 takes all")
    expect(is_within(batch_tokens, 1), "batch_tokens of at least 1", batch_tokens, "16384 suits most machines")
    expect(is_within(seed, 0, 2**63), "a seed of at least 0", seed, "choose another")
    known = get_args(Precision)
    expect(precision in known, f"a precision of {', '.join(known)}", repr(precision), "choose one of these")
    known = get_args(Documents)
    expect(documents in known, f"documents of {', '.join(known)}", repr(documents), "choose one of these")


def run_tasks(
    model: EvaluatedModel,
    tasks: Iterable[Task],
    readings: Mapping[str, Reading],
    *,
    items: int = 0,
    batch_tokens: int = 16384,
    precision: Precision = "32-true",
    seed: int = 0,
    documents: Documents = "all",
    store: Path | None = None,
    leaves_out: bool = False,
) -> Evaluation:
    """The results of tasks for a model on its device.

    Args:
        model: in evaluation mode.
        tasks: as `make_tasks` gives them.
        readings: those that are wanted.
        items: of each group of a task, at most, the same for each reading; 0 takes all.
        batch_tokens: tokens of a batch, at most.
        precision: of the products.
        seed: chooses items, and draws what tasks make.
        documents: which of the held-out ones.
        store: folder of the items' scores.
        leaves_out: whether a task that the model cannot do is noted and left out.

    Raises:
        InputError: where a task cannot be done, or none gives a number.
    """
    notes = _silent_objectives(model)
    if model.cache is not None:
        model = replace(model, cache=held_out_half(model.cache, documents))
    with weights_in(model.module, torch.float64 if precision == "64-true" else torch.float32):
        kept = ItemStore(store, f"{SCHEMA}\n{version('lm-objectives')}\n{precision}\n{documents}\n{identity_of(model)}")
        session = Session(model, readings, items, seed, batch_tokens, precision, kept, notes)
        results: list[Result] = []
        for task in [*_prepared(tasks, session, leaves_out)]:
            found = task.run(session)
            results += found
            if not found:
                notes.append(f"{task.name}: no text is scored by {', '.join(readings) or 'this model'}")
    mend = "; ".join(notes) or "name some"
    expect(bool(results), "a task that gives a number", "none", mend)
    packages = ("lm-objectives", "torch", "transformers", "tokenizers")
    settings = {
        "items": items,
        "precision": precision,
        "seed": seed,
        "documents": documents,
        "device": str(model.module.device),
        "readings": list(readings),
        "versions": {name: version(name) for name in packages},
    }
    return Evaluation(model.description, settings, results, notes)


def _prepared(tasks: Iterable[Task], session: Session, leaves_out: bool) -> Iterator[Task]:
    """The tasks that the model can do, made ready."""
    for task in tasks:
        try:
            check_installed(task)
            task.prepare(session)
        except InputError as error:
            if not leaves_out:
                raise
            session.notes.append(f"{task.name}: left out: {error}")
        else:
            yield task


@contextmanager
def weights_in(module: Pretraining, dtype: torch.dtype) -> Iterator[None]:
    """The module with weights of another precision, and then again with its own tensors."""
    parameters = [(parameter, parameter.data) for parameter in module.parameters()]
    buffers = [(part, name, buffer) for part in module.modules() for name, buffer in part.named_buffers(recurse=False)]
    module.to(dtype)
    try:
        yield
    finally:
        for parameter, data in parameters:
            parameter.data = data
        for part, name, buffer in buffers:
            part._buffers[name] = buffer


def identity_of(model: EvaluatedModel) -> str:
    """A text that is another one where scores are: weights, configuration, tokenizer, the objectives' settings."""
    tokenizer = hashlib.sha256(model.tokenizer.backend_tokenizer.to_str().encode()).hexdigest()
    architecture, objectives = model.module.backbone.architecture(), dict(model.module.hparams)["objectives"]
    settings = [architecture, objectives, model.vocabulary.to_dict(), model.seq_len]
    return "\n".join([model.description["weights"], tokenizer, json.dumps(settings, sort_keys=True, default=str)])


def _silent_objectives(model: EvaluatedModel) -> list[str]:
    """A note on each objective that has no reading."""
    read = {id(reading.objective) for reading in model.readings.values()}
    names = [name for name in model.module.names if id(model.module.objectives[name]) not in read]
    return [
        f"{name}: a {type(model.module.objectives[name]).__name__} has no reading; register one with readings_of"
        for name in names
    ]


def choose_device(device: str) -> torch.device:
    """The device of this name; `auto` is a GPU where there is one.

    Raises:
        InputError: where there is none.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.zeros(1, device=found).item()  # meta has no values
    except Exception as error:  # a name that torch does not know, a driver that is not there
        raise InputError(f"expected a device that is here, found {device!r}: auto takes the best there is") from error
    return found
