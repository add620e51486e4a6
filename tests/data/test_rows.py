"""Rows by key: the same for every arrangement, number of workers and resume."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lm_objectives.corruption.base import View, Vocabulary
from lm_objectives.corruption.masking import TokenMasking, TokenReplacement
from lm_objectives.corruption.pairs import SegmentPairs
from lm_objectives.corruption.shifting import NextToken
from lm_objectives.data.cache import TokenText
from lm_objectives.data.rows import (
    Batch,
    Decisions,
    MicroBatches,
    Plan,
    RowDataset,
    RowKey,
    Source,
    StepLoader,
    allot,
    check_sources,
)

VOCABULARY = Vocabulary(size=80, pad=0, bos=1, eos=2, mask=3, special=(0, 1, 2, 3))
WINDOW = 32
SOURCES = {
    "causal": Source(NextToken(), 0.4),
    "masked": Source(TokenMasking(), 0.3),
    "order": Source(SegmentPairs(), 0.2),
    "replaced": Source(TokenReplacement(), 0.1),
    "hidden": Source(TokenMasking(0.2), view_of="order"),
}
NAMES = tuple(SOURCES)
ARRANGEMENTS = [(1, 1), (2, 1), (1, 2), (2, 2), (8, 1), (4, 2)]


def write(folder: Path, documents: int) -> TokenText:
    """Documents of three paragraphs of four short sentences, as the token cache holds them."""
    generator = np.random.default_rng(0)
    tokens: list[int] = []
    arrays: dict[str, list[Any]] = {"sentences": [], "paragraphs": [], "documents": [0]}
    for _ in range(documents):
        tokens.append(VOCABULARY.bos)
        for _ in range(3):
            arrays["paragraphs"].append(len(arrays["sentences"]))
            for length in generator.integers(2, 7, 4):
                arrays["sentences"].append((len(tokens), len(tokens) + length))
                tokens += generator.integers(4, VOCABULARY.size, length).tolist()
        tokens.append(VOCABULARY.eos)
        arrays["documents"].append(len(tokens))
    arrays["paragraphs"].append(len(arrays["sentences"]))
    np.save(folder / "tokens.npy", np.array(tokens, dtype=np.uint16))
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", np.array(values, dtype=np.int64))
    return TokenText.open(folder)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> TokenText:
    return write(tmp_path_factory.mktemp("text"), 20)


@pytest.fixture(scope="module")
def dataset(text: TokenText) -> RowDataset:
    return RowDataset(text, SOURCES, VOCABULARY, WINDOW, 0, "training")


def keys_of_step(plan: Plan, step: int, world: int, accumulate: int) -> list[RowKey]:
    return [
        key
        for rank in range(world)
        for keys in islice(MicroBatches(plan, step, rank, world, accumulate), accumulate)
        for key in keys
    ]


def tensors(view: View) -> dict[str, Any]:
    return {name: value.tolist() if isinstance(value, Tensor) else value for name, value in vars(view).items()}


# Shares of a step.


def test_shares_of_eight_and_sixteen_rows() -> None:
    """Oracle: largest remainder by hand: 3.2, 2.4, 1.6, .8 of 8 and 6.4, 4.8, 3.2, 1.6 of 16."""
    shares = {"a": 0.4, "b": 0.3, "c": 0.2, "d": 0.1}
    assert allot(shares, 8, 1) == {"a": 3, "b": 2, "c": 2, "d": 1}
    assert allot(shares, 16, 1) == {"a": 6, "b": 5, "c": 3, "d": 2}
    assert allot(shares, 64, 8) == {"a": 24, "b": 16, "c": 16, "d": 8}


def test_equal_remainders_go_to_the_first() -> None:
    assert allot({"a": 1.0, "b": 1.0, "c": 1.0}, 32, 8) == {"a": 16, "b": 8, "c": 8}


@pytest.mark.parametrize("seed", range(20))
def test_whole_units_that_sum_to_the_step_and_stay_within_one_of_the_share(seed: int) -> None:
    generator = np.random.default_rng(seed)
    shares = {str(number): float(share) for number, share in enumerate(generator.uniform(0.5, 1, 5))}
    rows = allot(shares, 160, 4)
    assert sum(rows.values()) == 160
    for name, count in rows.items():
        assert count % 4 == 0
        assert abs(count / 4 - 40 * shares[name] / sum(shares.values())) < 1
    assert allot({name: 7 * share for name, share in shares.items()}, 160, 4) == rows


def test_a_step_that_the_unit_does_not_divide() -> None:
    with pytest.raises(
        ValueError, match=r"^expected a data.rows_per_step that data.unit \(8\) divides, found 20: 24 w"
    ):
        allot({"a": 1.0}, 20, 8)


def test_a_step_too_small_for_all_objectives() -> None:
    message = r"^expected .* at least 8 rows \(data.unit\), found 16 for a, b, c: raise it to 24, or lower data.unit"
    with pytest.raises(ValueError, match=message):
        allot({"a": 1.0, "b": 1.0, "c": 0.1}, 16, 8)


def test_nobody_is_left_without_rows_when_another_leaves() -> None:
    """Largest remainder alone would leave `a` none once `d` is out."""
    shares = {"a": 0.5, "b": 1.45, "c": 1.45, "d": 0.6}
    assert allot(shares, 32, 8) == {"a": 8, "b": 8, "c": 8, "d": 8}
    del shares["d"]
    rows = allot(shares, 32, 8)
    assert rows["a"] == 8 and sorted(rows.values()) == [8, 8, 16]


# The plan and its arrangement.


@pytest.mark.parametrize(("world", "accumulate"), ARRANGEMENTS)
@pytest.mark.parametrize("step", [0, 1, 41])
def test_a_step_reads_the_same_rows_whatever_the_arrangement(world: int, accumulate: int, step: int) -> None:
    """Oracle: one process without accumulation."""
    plan = Plan(SOURCES, 80, 8)
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
    plan = Plan(SOURCES, 80, 8)
    micro = [Counter(key.objective for key in keys) for keys in islice(MicroBatches(plan, 0, 1, 2, 4), 12)]
    assert all(counts == {"causal": 4, "masked": 3, "order": 2, "replaced": 1} for counts in micro)


def test_a_start_in_the_middle_goes_on_where_it_was() -> None:
    plan = Plan(SOURCES, 80, 8, Decisions([(0, NAMES), (3, ("masked", "causal"))]))
    whole = list(islice(MicroBatches(plan, 0, 1, 2, 2), 16))
    assert list(islice(MicroBatches(plan, 5, 1, 2, 2), 6)) == whole[10:]


def test_an_arrangement_that_does_not_divide_the_unit() -> None:
    message = r"divide data.unit \(8\), found 3 x 2: set data.unit to 6 or a multiple of it"
    with pytest.raises(ValueError, match=message):
        MicroBatches(Plan(SOURCES, 80, 8), 0, 0, 3, 2)


def test_rows_of_who_does_not_read_go_to_the_others() -> None:
    plan = Plan(SOURCES, 80, 8, Decisions([(0, ("causal", "masked")), (2, NAMES)]))
    assert plan.rows(1) == {"causal": 48, "masked": 32}
    assert sum(plan.rows(2).values()) == 80


def test_a_guest_keeps_its_hosts_rows() -> None:
    plan = Plan(SOURCES, 80, 8, Decisions([(0, ("causal", "hidden"))]))
    assert set(plan.rows(0)) == {"causal", "order"}


@pytest.mark.parametrize(
    "entries",
    [
        [(0, NAMES)],
        [(0, ("causal",)), (3, ("causal", "masked")), (4, ("masked", "order")), (11, NAMES)],
        [(0, NAMES), (30, ("causal",))],
    ],
)
def test_rows_before_a_step(entries: list[tuple[int, tuple[str, ...]]]) -> None:
    """Oracle: counting step by step."""
    plan = Plan(SOURCES, 80, 8, Decisions(entries))
    counted: Counter[str] = Counter()
    for step in range(20):
        assert plan.before(step) == {name: counted[name] for name in plan.shares}
        counted += Counter(plan.rows(step))


def test_decisions() -> None:
    decisions = Decisions([(0, ["a"])])
    decisions.append(5, ["a"])
    decisions.append(7, ["a", "b"])
    decisions.append(9, ["b"])
    assert decisions.entries == [(0, ("a",)), (7, ("a", "b")), (9, ("b",))]
    assert [decisions.at(step) for step in (0, 6, 7, 8, 9, 100)] == [
        ("a",),
        ("a",),
        ("a", "b"),
        ("a", "b"),
        ("b",),
        ("b",),
    ]
    decisions.append(9, ["a"])
    assert decisions.at(9) == ("a",)


# Views.


def test_an_epoch_reads_every_window_once(dataset: RowDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in dataset.spans:
        seen: list[tuple[int, int]] = []
        corruption = SOURCES[name].corruption
        read = type(corruption).read

        def watch(self: Any, text: Any, spans: np.ndarray, *rest: Any, read: Any = read, seen: Any = seen) -> Any:
            seen += map(tuple, spans.tolist())
            return read(self, text, spans, *rest)

        windows = len(dataset.spans[name])
        with monkeypatch.context() as patch:
            patch.setattr(type(corruption), "read", watch)
            for epoch in range(2):
                keys = [RowKey(name, k) for k in range(epoch * windows, (epoch + 1) * windows)]
                for at in range(0, windows, 7):
                    dataset.__getitems__(keys[at : at + 7])
        every = sorted(map(tuple, dataset.spans[name].tolist()))
        assert sorted(seen[:windows]) == sorted(seen[windows:]) == every
        assert seen[:windows] != seen[windows:]


def test_a_row_does_not_depend_on_its_batch(dataset: RowDataset) -> None:
    windows = len(dataset.spans["order"])
    whole = dataset.__getitems__([RowKey("order", k) for k in range(windows - 4, windows + 4)])
    for row, k in enumerate(range(windows - 4, windows + 4)):
        alone = dataset[RowKey("order", k)]
        for name in ("order", "hidden"):
            assert torch.equal(alone.views[name].ids[0], whole.views[name].ids[row])
            own = whole.views[name].scored // WINDOW == row
            assert torch.equal(alone.views[name].targets, whole.views[name].targets[own])


@pytest.mark.parametrize("change", [{"seed": 1}, {"split": "validation"}])
def test_seeds_and_splits_have_rows_of_their_own(text: TokenText, dataset: RowDataset, change: dict[str, Any]) -> None:
    other = RowDataset(
        **{
            "text": text,
            "sources": SOURCES,
            "vocabulary": VOCABULARY,
            "window": WINDOW,
            "seed": 0,
            "split": "training",
            **change,
        }
    )
    for name in dataset.spans:
        keys = [RowKey(name, k) for k in range(8)]
        first, second = (made.__getitems__(keys).views[name].ids for made in (dataset, other))
        assert not torch.equal(first, second)


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_are_bit_equal_whatever_the_workers(dataset: RowDataset, workers: int) -> None:
    """Oracle: rows made in this process."""

    def batches(workers: int) -> list[Batch]:
        keys: Any = MicroBatches(Plan(SOURCES, 80, 8), 3, 1, 2, 2)
        loader: Iterator[Batch] = iter(
            DataLoader(dataset, batch_sampler=keys, collate_fn=lambda batch: batch, num_workers=workers)
        )
        return list(islice(loader, 4))

    for one, other in zip(batches(0), batches(workers), strict=True):
        assert one.tokens == other.tokens
        assert {name: tensors(view) for name, view in one.views.items()} == {
            name: tensors(view) for name, view in other.views.items()
        }
        assert other.views["order"].ids is other.views["hidden"].ids


def test_a_shared_view_holds_the_ids_once_and_hides_from_both(dataset: RowDataset) -> None:
    batch = dataset.__getitems__([RowKey("order", k) for k in range(8)] + [RowKey("causal", 3)])
    order, hidden = batch.views["order"], batch.views["hidden"]
    assert list(batch.views) == ["order", "hidden", "causal"]
    assert order.ids is hidden.ids
    assert (order.ids.flatten()[hidden.scored] == VOCABULARY.mask).any()
    assert order.counts == {"loss": 8} and order.scored.tolist() == [row * WINDOW for row in range(8)]
    assert torch.equal(order.segments, hidden.segments)
    assert batch.tokens == int(order.lengths.sum() + batch.views["causal"].lengths.sum())
    moved = batch.to("cpu", copy=True)
    assert moved.views["order"].ids is moved.views["hidden"].ids
    assert moved.views["order"].ids is not order.ids


def test_one_objectives_rows_do_not_depend_on_the_others(text: TokenText, dataset: RowDataset) -> None:
    alone = RowDataset(text, {"masked": SOURCES["masked"]}, VOCABULARY, WINDOW, 0, "training")
    keys = [RowKey("masked", k) for k in range(5)]
    assert tensors(alone.__getitems__(keys).views["masked"]) == tensors(dataset.__getitems__(keys).views["masked"])


def test_a_text_without_windows(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^expected a training text with windows for objective order, found none: "):
        RowDataset(write(tmp_path, 1), {"order": SOURCES["order"]}, VOCABULARY, 4, 0, "training")


def test_an_empty_text_has_no_windows(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"^expected a validation text with windows for objective causal, found none: "
    ):
        RowDataset(write(tmp_path, 0), {"causal": SOURCES["causal"]}, VOCABULARY, 4, 0, "validation")


@pytest.mark.parametrize(("window", "last"), [(5, [[10, 12]]), (11, [[0, 11]]), (6, [[6, 12]]), (20, [[0, 12]])])
def test_windows_cut_the_text_and_a_last_token_alone_is_left_out(window: int, last: list[list[int]]) -> None:
    nothing = np.zeros(0)
    spans = NextToken().spans(TokenText(Path(), np.zeros(12), nothing, nothing, nothing), window)
    assert spans[-1:].tolist() == last
    assert spans[0, 0] == 0
    assert (spans[1:, 0] == spans[:-1, 1]).all()


# Sources.


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (
            {"causal": SOURCES["causal"], "masked": Source(TokenMasking(), view_of="orders")},
            "view_of of objective masked to name another objective, found 'orders': there are causal",
        ),
        (
            {"masked": Source(TokenMasking(), view_of="masked")},
            "view_of of objective masked to name an objective with rows of its own, found 'masked'",
        ),
        (
            SOURCES | {"more": Source(TokenMasking(), view_of="hidden")},
            "view_of of objective more to name an objective with rows of its own, found 'hidden'",
        ),
        (
            SOURCES | {"more": Source(TokenMasking(), view_of="order")},
            "one objective to read the view of order, found hidden and more: give one of them rows of its own",
        ),
        (
            SOURCES | {"more": Source(TokenMasking(), view_of="causal")},
            r"of its own attention pattern \(bidirectional\), found causal with causal: give it rows of its own",
        ),
        (
            {"masked": SOURCES["masked"], "order": Source(SegmentPairs(), view_of="masked")},
            "to read the view of masked, found order, which arranges rows itself: give it rows of its own",
        ),
    ],
)
def test_sources_that_cannot_share_are_one_clear_line(sources: dict[str, Source], message: str) -> None:
    with pytest.raises(ValueError, match=f"^expected .*{message}$") as caught:
        check_sources(sources)
    assert "\n" not in str(caught.value)


# Counts of a whole step.


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
        keys = MicroBatches(Plan(SOURCES, 80, 8), 2, 0, 1, accumulate)
        loader = StepLoader(lambda: map(dataset.__getitems__, keys), 0, accumulate, None)
        return next(iter(loader)).totals

    assert totals(1) == totals(2) == totals(8)
    assert set(totals(1)) == set(SOURCES)
