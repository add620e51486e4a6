"""Keys of micro-batches, the workers that make them, and a loader that adds the counts of the whole optimizer step."""

import atexit
import os
import signal
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count, islice
from multiprocessing import get_start_method, parent_process
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from lm_objectives.data.dataset import Batch, RowDataset, RowKey
from lm_objectives.data.plan import ACTIVITY_DELAY, RowPlan
from lm_objectives.errors import expect


class MicroBatches(Sampler[list[RowKey]]):
    """The keys of one rank's micro-batches, from an optimizer step on, endlessly.

    An objective's n rows of a step are dealt in blocks: micro-batch m of rank r gets block m × world + r.

    Args:
        plan: how many rows each objective reads in each step.
        start: gives the step that an iteration starts at, each time one does.
        rank, world: of the process, and of all processes.
        accumulate: micro-batches of an optimizer step.
    """

    def __init__(self, plan: RowPlan, start: Callable[[], int], rank: int, world: int, accumulate: int) -> None:
        expected = f"devices x accumulate_grad_batches to divide data.batch_multiple ({plan.batch_multiple})"
        mend = f"set data.batch_multiple to {world * accumulate} or a multiple of it"
        expect(not plan.batch_multiple % (world * accumulate), expected, f"{world} x {accumulate}", mend)
        self.plan, self.start, self.rank, self.world, self.accumulate = plan, start, rank, world, accumulate

    def __iter__(self) -> Iterator[list[RowKey]]:
        for step in map(self.plan.source_step, count(self.start())):
            rows, before = self.plan.rows(step), self.plan.before(step)
            for micro in range(self.accumulate):
                keys = []
                for name, number in rows.items():
                    size = number // (self.world * self.accumulate)
                    first = before[name] + (micro * self.world + self.rank) * size
                    keys += [RowKey(name, k, step) for k in range(first, first + size)]
                yield keys


def validation_batches(dataset: RowDataset, rows: int, size: int, rank: int, world: int) -> list[list[RowKey]]:
    """The keys of one rank's validation batches, each of one objective.

    Args:
        dataset: the held-out rows.
        rows: of each objective over all ranks, at most; 0 means all.
        size: rows of a batch, at most.
        rank, world: of the process, and of all processes.

    Raises:
        InputError: for fewer rows than processes, of which one would have no part in the pass.
    """
    most = max(min(len(windows), rows or len(windows)) for windows in dataset.windows.values())
    mend = "raise data.validation_rows or data.validation_share, or train on fewer devices"
    expect(most >= world, f"held-out rows for each of {world} ranks", most, mend)
    keys: list[list[RowKey]] = []
    for name, windows in dataset.windows.items():
        own = range(rank, min(len(windows), rows or len(windows)), world)
        keys += [[RowKey(name, k) for k in own[at : at + size]] for at in range(0, len(own), size)]
    return sorted(keys, key=lambda batch: batch[0].k)  # in turn, so that a pass that is cut short has seen all


def make_loader(
    dataset: RowDataset, keys: Iterable[list[RowKey]], num_workers: int, accumulate: int, pin_memory: bool
) -> DataLoader[Batch]:
    """A DataLoader of the micro-batches with these keys, whose workers stay from one iteration to the next.

    They end with `end_workers`, with the loader, or with the process. There is one iteration at a time: a new one stops
    the one before, and what was made ahead for that is dropped.
    """
    keep_freed_memory()
    loader = DataLoader(
        dataset,
        batch_sampler=keys,
        worker_init_fn=_start_worker,
        collate_fn=_identity,
        num_workers=num_workers,
        prefetch_factor=prefetch_factor(num_workers, accumulate),
        pin_memory=pin_memory,
        persistent_workers=num_workers > 0,
    )
    if num_workers:
        # A process that ends sends its workers SIGTERM, which they ignore, and waits for them. This comes before, and
        # before queues close: the priority counts in a child of multiprocessing, `atexit` in any other process.
        at_exit = Finalize(None, _end_at_exit, (weakref.ref(loader),), exitpriority=100)
        atexit.register(at_exit)
    return loader


def end_workers(loader: DataLoader[Batch]) -> None:
    """End the workers of a loader; its next iteration starts others."""
    iterator: Any = loader._iterator
    loader._iterator = None
    if iterator is not None:
        iterator._shutdown_workers()
        for worker in iterator._workers:
            worker.kill()  # where it was stuck, since it ignores what torch sends


def _end_at_exit(reference: "weakref.ref[DataLoader[Batch]]") -> None:
    loader = reference()
    if loader is not None:
        end_workers(loader)


def prefetch_factor(num_workers: int, accumulate: int) -> int | None:
    """Micro-batches that each worker may make ahead; `None` without workers.

    Raises:
        InputError: for more workers than steps that may be made ahead.
    """
    if not num_workers:
        return None
    most = (ACTIVITY_DELAY - 2) * accumulate
    mend = f"rows may be made at most {ACTIVITY_DELAY} steps ahead, so lower it"
    expect(num_workers <= most, f"data.num_workers of at most {most}", num_workers, mend)
    return min(2, most // num_workers)


class StepLoader:
    """Micro-batches with the counts of their whole optimizer step.

    An iterable rather than a `DataLoader`, so that a Trainer puts no sampler of its own into it.

    Args:
        loader: starts an iteration over micro-batches at the right step.
        length: micro-batches of a bookkeeping epoch.
        accumulate: micro-batches of an optimizer step.
        reduce: sums a tensor over all ranks.
    """

    def __init__(
        self,
        loader: Callable[[], Iterable[Batch]],
        length: int,
        accumulate: int,
        reduce: Callable[[Tensor], Tensor] | None,
    ) -> None:
        self._loader, self._length, self._accumulate, self._reduce = loader, length, accumulate, reduce

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Batch]:
        with _signals_wait():
            batches = iter(self._loader())
        while group := list(islice(batches, self._accumulate)):
            totals = self._totals(group)
            for batch in group:
                yield Batch(batch.views, batch.tokens, totals)

    def state_dict(self) -> dict[str, Any]:
        """Nothing: rows follow from the trainer's step, with which each iteration starts anew."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to restore; says to Lightning that a run may go on in the middle of an epoch."""

    def _totals(self, group: Sequence[Batch]) -> dict[str, dict[str, Any]]:
        """Counts of the whole step: numbers on one process, tensors of one element on the device on several."""
        totals: dict[str, Counter[str]] = {}
        for batch in group:
            for name, view in batch.views.items():
                totals.setdefault(name, Counter()).update(view.counts)
        if self._reduce is None:
            return {name: dict(parts) for name, parts in totals.items()}
        flat = torch.tensor([total for parts in totals.values() for total in parts.values()])
        summed = iter(self._reduce(flat).unbind())
        return {name: {part: next(summed) for part in parts} for name, parts in totals.items()}


def _identity(batch: Any) -> Any:
    return batch


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # as a whole group of processes gets them
_LOOK = 1.0  # seconds between two looks whether the training process lives


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Hold signals back while workers are spawned, which takes seconds in which they would end at one.

    They inherit it. Not with a fork server, which lives on and would hand it to whatever else it starts.
    """
    if get_start_method() != "spawn" or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(worker: int) -> None:
    """Leave it to the training process when a worker ends; one whose training process was killed ends by itself."""
    del worker
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    training = parent_process()
    assert training is not None
    threading.Thread(target=_end_with, args=(training,), name="parent-watch", daemon=True).start()
    keep_freed_memory()


def _end_with(training: BaseProcess) -> None:
    """End this worker once the training process is gone.

    torch's own watch takes whoever is the parent when it begins for that process, be it a fork server or what adopts
    orphans, and a worker that it ends waits for its rows to be read: some would never end.
    """
    while _lives(training):
        time.sleep(_LOOK)
    os._exit(1)


def _lives(training: BaseProcess) -> bool:
    # What `is_alive` reads, workers that are forked later keep open; a fork server's are no children of the process.
    return training.is_alive() and (get_start_method() == "forkserver" or os.getppid() == training.pid)


def keep_freed_memory() -> None:
    """Let this process use the memory of a batch again for the next.

    glibc hands freed memory back to the system beyond a threshold that follows the largest block freed so far. A batch
    is made of arrays of some 100 KiB, and paging their memory in anew took a third of its time. Other allocators do not
    mind.
    """
    np.empty(2**24, dtype=np.uint8)
