"""Micro-batches: their keys, and the counts of the whole step that they belong to."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from lm_objectives.data.dataset import Batch, RowKey
from lm_objectives.data.plan import RowPlan
from lm_objectives.errors import InputError


class MicroBatches(Sampler[list[RowKey]]):
    """The keys of one rank's micro-batches, from an optimizer step on without end.

    An objective's n rows of a step are dealt in blocks: micro-batch m of rank r gets block m × world + r.
    """

    def __init__(self, plan: RowPlan, start: int, rank: int, world: int, accumulate: int) -> None:
        if plan.batch_multiple % (world * accumulate):
            raise InputError(
                f"expected devices x accumulate_grad_batches to divide data.batch_multiple ({plan.batch_multiple}), found "
                f"{world} x {accumulate}: set data.batch_multiple to {world * accumulate} or a multiple of it"
            )
        self.plan, self.start, self.rank, self.world, self.accumulate = plan, start, rank, world, accumulate

    def __iter__(self) -> Iterator[list[RowKey]]:
        step, before = self.start, self.plan.before(self.start)
        while True:
            rows = self.plan.rows(step)
            for micro in range(self.accumulate):
                keys = []
                for name, count in rows.items():
                    size = count // (self.world * self.accumulate)
                    first = before[name] + (micro * self.world + self.rank) * size
                    keys += [RowKey(name, k, step) for k in range(first, first + size)]
                yield keys
            for name, count in rows.items():
                before[name] += count
            step += 1


class StepLoader:
    """Micro-batches that know the counts of their whole optimizer step.

    An iterable rather than a `DataLoader`, so that a Trainer puts no sampler of its own into it.

    Args:
        loader: makes a fresh iterator of micro-batches that starts at the right step.
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
        totals: dict[str, dict[str, Any]] = {}
        for batch in group:
            for name, view in batch.views.items():
                own = totals.setdefault(name, dict.fromkeys(view.counts, 0))
                for part, count in view.counts.items():
                    own[part] += count
        if self._reduce is None:
            return totals
        flat = torch.tensor([count for parts in totals.values() for count in parts.values()])
        summed = iter(self._reduce(flat).unbind())
        return {name: {part: next(summed) for part in parts} for name, parts in totals.items()}


def keep_freed_memory(worker: int = 0) -> None:
    """Let this process use the memory of a batch again for the next.

    glibc hands freed memory back to the system beyond a threshold that follows the largest block freed so far. A batch
    is made of arrays of some 100 KiB, and paging their memory in anew took a third of its time. Other allocators do not
    mind.
    """
    del worker
    np.empty(2**24, dtype=np.uint8)
