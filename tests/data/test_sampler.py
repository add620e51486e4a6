"""Micro-batches: the same rows of a step in every arrangement, the counts of the whole step, and the workers."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, _utils
from utils.loaded_modules import LoadedModules
from utils.row_cases import NAMES, SETTINGS, SOURCES, VOCABULARY, tensors, write

from lm_objectives.data.dataset import Batch, RowDataset, RowKey
from lm_objectives.data.plan import ActivityLog, RowPlan
from lm_objectives.data.sampler import MicroBatches, StepLoader, end_workers, make_loader
from lm_objectives.views import View

ARRANGEMENTS = [(1, 1), (2, 1), (1, 2), (2, 2), (8, 1), (4, 2)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> RowDataset:
    return RowDataset(write(tmp_path_factory.mktemp("text"), 20), SOURCES, VOCABULARY, SETTINGS, "training")


def keys_of_step(plan: RowPlan, step: int, world: int, accumulate: int) -> list[RowKey]:
    return [
        key
        for rank in range(world)
        for keys in islice(MicroBatches(plan, lambda: step, rank, world, accumulate), accumulate)
        for key in keys
    ]


@pytest.mark.parametrize(("world", "accumulate"), ARRANGEMENTS)
@pytest.mark.parametrize("step", [0, 1, 41])
def test_a_step_reads_the_same_rows_whatever_the_arrangement(world: int, accumulate: int, step: int) -> None:
    """Oracle: one process without accumulation."""
    plan = RowPlan(SOURCES, 80, 8)
    keys = keys_of_step(plan, step, world, accumulate)
    assert Counter(keys) == Counter(keys_of_step(plan, step, 1, 1))
    assert (
        Counter(key.objective for key in keys)
        == plan.rows(step)
        == {
            "causal": 32,
            "masked": 24,
            "order": 16,
            "replaced": 8,
        }
    )


def test_micro_batches_are_alike() -> None:
    plan = RowPlan(SOURCES, 80, 8)
    micro = [Counter(key.objective for key in keys) for keys in islice(MicroBatches(plan, lambda: 0, 1, 2, 4), 12)]
    assert all(counts == {"causal": 4, "masked": 3, "order": 2, "replaced": 1} for counts in micro)


def test_a_start_in_the_middle_goes_on_where_it_was() -> None:
    plan = RowPlan(SOURCES, 80, 8, ActivityLog([(0, NAMES), (3, ("masked", "causal"))]))
    starts = iter([0, 5])
    keys = MicroBatches(plan, lambda: next(starts), 1, 2, 2)
    whole = list(islice(keys, 16))
    assert list(islice(keys, 6)) == whole[10:]


@pytest.mark.parametrize(("world", "accumulate"), [(1, 1), (2, 4)])
@pytest.mark.parametrize("steps", [1, 3])
def test_rows_that_repeat_are_those_of_the_first_steps(world: int, accumulate: int, steps: int) -> None:
    """Oracle: a plan without repetition, from the start and from the middle of a round."""
    plan, first = RowPlan(SOURCES, 80, 8, repeat=steps), RowPlan(SOURCES, 80, 8)
    for step in range(3 * steps):
        keys = Counter(keys_of_step(plan, step, world, accumulate))
        assert keys == Counter(keys_of_step(first, step % steps, world, accumulate))
        assert plan.rows(step) == first.rows(step % steps)


def test_an_arrangement_that_does_not_divide_the_unit() -> None:
    message = r"divide data.batch_multiple \(8\), found 3 x 2: set data.batch_multiple to 6 or a multiple of it"
    with pytest.raises(ValueError, match=message):
        MicroBatches(RowPlan(SOURCES, 80, 8), lambda: 0, 0, 3, 2)


def loader_of(dataset: RowDataset, workers: int, *starts: int) -> DataLoader[Batch]:
    """The second of two ranks' micro-batches; each iteration begins at the next of the starts."""
    start = iter(starts)
    keys = MicroBatches(RowPlan(SOURCES, 80, 8), lambda: next(start), 1, 2, 2)
    return make_loader(dataset, keys, workers, 2, pin_memory=False)


def pids(loader: DataLoader[Batch]) -> list[int]:
    iterator: Any = loader._iterator
    return [worker.pid for worker in iterator._workers]


def read(loader: DataLoader[Batch], batches: int) -> list[dict[str, Any]]:
    """What an iteration reads that is left after some batches."""
    found = list(islice(loader, batches))
    assert all(batch.views["order"].input_ids is batch.views["hidden"].input_ids for batch in found)
    return [{name: tensors(view) for name, view in batch.views.items()} | {"n": batch.tokens} for batch in found]


@pytest.fixture
def start_method(request: pytest.FixtureRequest) -> Iterator[None]:
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method(request.param, force=True)
    yield
    multiprocessing.set_start_method(before, force=True)


@pytest.mark.parametrize(
    ("start_method", "workers"), [("fork", 1), ("fork", 3), ("spawn", 1)], indirect=["start_method"]
)
def test_workers_stay_and_change_no_bit_wherever_a_pass_starts(
    dataset: RowDataset, workers: int, start_method: None
) -> None:
    """Oracle: rows made in this process, by a loader of its own for each pass."""
    starts = (3, 0, 7, 3)
    loader, processes = loader_of(dataset, workers, *starts), set()
    for number, start in enumerate(starts):
        batches = 1 + 2 * number  # each pass leaves some that were made ahead
        assert read(loader, batches) == read(loader_of(dataset, 0, start), batches)
        processes.add(tuple(pids(loader)))
    assert len(processes) == 1
    end_workers(loader)


def test_a_loader_goes_on_after_its_workers_have_ended(dataset: RowDataset) -> None:
    """Oracle: rows made in this process; no process is left."""
    loader, before = loader_of(dataset, 2, 0, 4), set(multiprocessing.active_children())
    read(loader, 1)
    end_workers(loader)
    assert set(multiprocessing.active_children()) == before
    assert read(loader, 3) == read(loader_of(dataset, 0, 4), 3)
    end_workers(loader)
    assert set(multiprocessing.active_children()) == before


def test_a_worker_ignores_signals_to_the_whole_group(dataset: RowDataset) -> None:
    """Oracle: rows made in this process."""
    loader = loader_of(dataset, 1, 0, 4)
    read(loader, 1)
    [worker] = pids(loader)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        os.kill(worker, number)
    assert read(loader, 3) == read(loader_of(dataset, 0, 4), 3)
    assert pids(loader) == [worker]
    end_workers(loader)


class Stuck(RowDataset):
    """Makes the rows of a first step, and never another."""

    reached = multiprocessing.get_context("fork").Event()

    def __getitems__(self, keys: Any) -> Batch:
        if keys[0].step:
            self.reached.set()
            time.sleep(600)
        return super().__getitems__(keys)


@pytest.mark.parametrize("start_method", ["fork"], indirect=True)
def test_a_worker_that_is_stuck_is_ended(
    dataset: RowDataset, start_method: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_utils, "MP_STATUS_CHECK_INTERVAL", 0.2)  # seconds that torch waits before it sends SIGTERM
    stuck = Stuck(dataset.texts["causal"], SOURCES, VOCABULARY, SETTINGS, "training")
    loader, before = loader_of(stuck, 1, 0), set(multiprocessing.active_children())
    read(loader, 2)
    assert stuck.reached.wait(120)
    end_workers(loader)
    for process in set(multiprocessing.active_children()) - before:
        process.join(120)
    assert set(multiprocessing.active_children()) == before


_TRAINING = """
import multiprocessing, sys, time
from torch.utils.data._utils import signal_handling
from utils.row_cases import SETTINGS, SOURCES, VOCABULARY
from lm_objectives.data.cache import TokenText
from lm_objectives.data.dataset import RowDataset
from lm_objectives.data.plan import RowPlan
from lm_objectives.data.sampler import MicroBatches, make_loader

class Large(RowDataset):
    def __getitems__(self, keys):
        return bytes(2**20)  # of which a pipe holds a part

folder, how, method = sys.argv[1:]
multiprocessing.set_start_method(method)
if how == "starting":
    signal_handling._set_worker_signal_handlers = lambda: time.sleep(2)  # what a worker does first
kind = Large if how == "full" else RowDataset
dataset = kind(TokenText.open(folder), SOURCES, VOCABULARY, SETTINGS, "training")
loader = make_loader(dataset, MicroBatches(RowPlan(SOURCES, 80, 8), lambda: 0, 0, 1, 1), 2, 1, pin_memory=False)
batches = iter(loader)
if how != "starting":
    next(batches)
print("goes on", flush=True)
time.sleep(0 if how == "done" else 600)
"""


@pytest.mark.parametrize(
    ("how", "method"),
    [("done", "fork"), ("killed", "fork"), ("killed", "forkserver"), ("starting", "fork"), ("full", "fork")],
)
def test_workers_end_with_a_process_that_did_not_end_them(dataset: RowDataset, how: str, method: str) -> None:
    """Also where it is killed while they start, and while they wait for what they made to be read.

    Oracle: the end of the pipe that the process and its workers write to.
    """
    folder = str(dataset.texts["causal"].folder)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", _TRAINING, folder, how, method]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"goes on\n"
        if how != "done":
            process.kill()
        said, _ = process.communicate(timeout=120)
    assert b"Traceback" not in said and process.returncode == (0 if how == "done" else -signal.SIGKILL)


def read_and_leave(folder: Path) -> None:
    dataset = RowDataset(write(folder, 20), SOURCES, VOCABULARY, SETTINGS, "training")
    global _kept
    _kept = loader_of(dataset, 1, 0)
    read(_kept, 1)


def test_workers_end_with_a_child_of_multiprocessing_that_did_not_end_them(tmp_path: Path) -> None:
    """A rank that Lightning started so, for one, where an error ends it."""
    rank = multiprocessing.get_context("fork").Process(target=read_and_leave, args=(tmp_path,))
    rank.start()
    rank.join(120)
    code = rank.exitcode
    rank.kill()
    assert code == 0


def test_a_worker_is_not_sent_the_text(dataset: RowDataset) -> None:
    """Oracle: the bytes of the tokens, which the pickle of an array would hold."""
    tokens = np.asarray(dataset.texts["causal"].tokens)
    assert tokens.tobytes() in pickle.dumps(tokens)
    assert tokens[:64].tobytes() not in pickle.dumps(dataset)


HEAVY = {"lightning", "transformers", "tokenizers", "datasets", "pandas", "pyarrow", "wandb", "matplotlib", "sentencex"}


@pytest.mark.parametrize("start_method", ["spawn"], indirect=True)
def test_a_worker_imports_what_rows_need(dataset: RowDataset, start_method: None) -> None:
    """Oracle: the modules of a worker that was started afresh and has made rows."""
    text = dataset.texts["causal"]
    loader = loader_of(LoadedModules(text, SOURCES, VOCABULARY, SETTINGS, "training"), 1, 0)
    modules: Any = next(iter(loader))
    end_workers(loader)
    assert {"torch", "lm_objectives.data.dataset"} <= set(modules)
    assert not {name.split(".")[0] for name in modules} & HEAVY
    rooms = {name.split(".")[1] for name in modules if name.startswith("lm_objectives.")}
    assert rooms <= {"corruptions", "data", "views", "schedules", "plugin", "files", "ranges", "errors"}


def micro_batch(count: int) -> Batch:
    none = torch.zeros(0, dtype=torch.long)
    ids = torch.zeros(1, 1, dtype=torch.long)
    return Batch(
        {"masked": View(ids, torch.ones(1, dtype=torch.long), "bidirectional", none, none, {"loss": count})}, 1
    )


def test_totals_are_those_of_the_whole_step() -> None:
    """Oracle: 30 and 10 scored positions of means 2 and 4 are 2.5; a mean of means would be 3."""
    batches = [micro_batch(count) for count in (30, 10, 7, 5)]
    found = list(StepLoader(lambda: batches, 4, 2, None))
    assert [batch.totals for batch in found] == [{"masked": {"loss": 40}}] * 2 + [{"masked": {"loss": 12}}] * 2
    sums = [2 * 30, 4 * 10]
    assert sum(total / batch.totals["masked"]["loss"] for total, batch in zip(sums, found[:2], strict=True)) == 2.5
    assert len(StepLoader(lambda: batches, 4, 2, None)) == 4


def test_totals_are_summed_over_ranks() -> None:
    """Oracle: `reduce` stands for another rank with the same counts and one more."""
    found = list(StepLoader(lambda: [micro_batch(30), micro_batch(10)], 2, 2, lambda counts: 2 * counts + 1))
    assert [int(batch.totals["masked"]["loss"]) for batch in found] == [81, 81]


def test_totals_are_known_before_the_first_batch_of_a_step_is_out() -> None:
    made = []

    def batches() -> Iterator[Batch]:
        for count in (30, 10, 7, 5):
            made.append(count)
            yield micro_batch(count)

    next(iter(StepLoader(batches, 4, 2, None)))
    assert made == [30, 10]


def test_totals_of_real_rows_do_not_depend_on_the_arrangement(dataset: RowDataset) -> None:
    """Oracle: one process without accumulation."""

    def totals(accumulate: int) -> dict[str, dict[str, Any]]:
        keys = MicroBatches(RowPlan(SOURCES, 80, 8), lambda: 2, 0, 1, accumulate)
        loader = StepLoader(lambda: map(dataset.__getitems__, keys), 0, accumulate, None)
        return next(iter(loader)).totals

    assert totals(1) == totals(2) == totals(8)
    assert set(totals(1)) == set(SOURCES)
