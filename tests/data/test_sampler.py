"""Micro-batches: the same rows of a step in every arrangement, and the counts of the whole step."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader
from utils.row_cases import NAMES, SETTINGS, SOURCES, VOCABULARY, tensors, write

from lm_objectives.data.dataset import Batch, RowDataset, RowKey
from lm_objectives.data.plan import ActivityLog, RowPlan
from lm_objectives.data.sampler import MicroBatches, StepLoader
from lm_objectives.views import View

ARRANGEMENTS = [(1, 1), (2, 1), (1, 2), (2, 2), (8, 1), (4, 2)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> RowDataset:
    return RowDataset(write(tmp_path_factory.mktemp("text"), 20), SOURCES, VOCABULARY, SETTINGS, "training")


def keys_of_step(plan: RowPlan, step: int, world: int, accumulate: int) -> list[RowKey]:
    return [
        key
        for rank in range(world)
        for keys in islice(MicroBatches(plan, step, rank, world, accumulate), accumulate)
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
    micro = [Counter(key.objective for key in keys) for keys in islice(MicroBatches(plan, 0, 1, 2, 4), 12)]
    assert all(counts == {"causal": 4, "masked": 3, "order": 2, "replaced": 1} for counts in micro)


def test_a_start_in_the_middle_goes_on_where_it_was() -> None:
    plan = RowPlan(SOURCES, 80, 8, ActivityLog([(0, NAMES), (3, ("masked", "causal"))]))
    whole = list(islice(MicroBatches(plan, 0, 1, 2, 2), 16))
    assert list(islice(MicroBatches(plan, 5, 1, 2, 2), 6)) == whole[10:]


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
        MicroBatches(RowPlan(SOURCES, 80, 8), 0, 0, 3, 2)


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_are_bit_equal_whatever_the_workers(dataset: RowDataset, workers: int) -> None:
    """Oracle: rows made in this process."""

    def batches(workers: int) -> list[Batch]:
        keys: Any = MicroBatches(RowPlan(SOURCES, 80, 8), 3, 1, 2, 2)
        loader: Iterator[Batch] = iter(
            DataLoader(dataset, batch_sampler=keys, collate_fn=lambda batch: batch, num_workers=workers)
        )
        return list(islice(loader, 4))

    for one, other in zip(batches(0), batches(workers), strict=True):
        assert one.tokens == other.tokens
        assert {name: tensors(view) for name, view in one.views.items()} == {
            name: tensors(view) for name, view in other.views.items()
        }
        assert other.views["order"].input_ids is other.views["hidden"].input_ids


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
        keys = MicroBatches(RowPlan(SOURCES, 80, 8), 2, 0, 1, accumulate)
        loader = StepLoader(lambda: map(dataset.__getitems__, keys), 0, accumulate, None)
        return next(iter(loader)).totals

    assert totals(1) == totals(2) == totals(8)
    assert set(totals(1)) == set(SOURCES)
