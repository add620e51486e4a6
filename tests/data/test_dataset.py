"""Rows by key: pure functions of it, each window once an epoch, documents kept apart."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from utils.row_cases import SETTINGS, SOURCES, VOCABULARY, WINDOW, tensors, write

from lm_objectives.corruptions.base import Corruption
from lm_objectives.corruptions.causal_lm import NextToken
from lm_objectives.corruptions.masked_lm import TokenMasking
from lm_objectives.corruptions.random import derive_seed, row_keys
from lm_objectives.corruptions.windows import FixedLengthWindows, SplitWindows, frame_length, read_stream
from lm_objectives.data.cache import TokenText
from lm_objectives.data.dataset import RowDataset, RowKey, RowSettings
from lm_objectives.data.plan import ObjectiveRows
from lm_objectives.views import Rows, View, Vocabulary


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> TokenText:
    return write(tmp_path_factory.mktemp("text"), 20)


@pytest.fixture(scope="module")
def dataset(text: TokenText) -> RowDataset:
    return RowDataset(text, SOURCES, VOCABULARY, SETTINGS, "training")


def test_an_epoch_reads_every_window_once(dataset: RowDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in dataset.windows:
        seen: list[tuple[int, int]] = []
        corruption = SOURCES[name].corruption
        read = type(corruption).read_rows

        def watch(self: Any, text: Any, spans: np.ndarray, *rest: Any, read: Any = read, seen: Any = seen) -> Any:
            seen += map(tuple, spans.tolist())
            return read(self, text, spans, *rest)

        windows = len(dataset.windows[name])
        with monkeypatch.context() as patch:
            patch.setattr(type(corruption), "read_rows", watch)
            for epoch in range(2):
                keys = [RowKey(name, k) for k in range(epoch * windows, (epoch + 1) * windows)]
                for at in range(0, windows, 7):
                    dataset.__getitems__(keys[at : at + 7])
        every = sorted(map(tuple, dataset.windows[name][np.arange(windows)].tolist()))
        assert sorted(seen[:windows]) == sorted(seen[windows:]) == every
        assert seen[:windows] != seen[windows:]


def test_a_row_does_not_depend_on_its_batch(dataset: RowDataset) -> None:
    windows = len(dataset.windows["order"])
    whole = dataset.__getitems__([RowKey("order", k) for k in range(windows - 4, windows + 4)])
    for row, k in enumerate(range(windows - 4, windows + 4)):
        alone = dataset[RowKey("order", k)]
        for name in ("order", "hidden"):
            assert torch.equal(alone.views[name].input_ids[0], whole.views[name].input_ids[row])
            own = whole.views[name].label_positions // WINDOW == row
            assert torch.equal(alone.views[name].targets, whole.views[name].targets[own])


@pytest.mark.parametrize("change", [{"settings": RowSettings(WINDOW, seed=1)}, {"split": "validation"}])
def test_seeds_and_splits_have_rows_of_their_own(text: TokenText, dataset: RowDataset, change: dict[str, Any]) -> None:
    other = RowDataset(
        **{
            "text": text,
            "sources": SOURCES,
            "vocabulary": VOCABULARY,
            "settings": SETTINGS,
            "split": "training",
            **change,
        }
    )
    for name in dataset.windows:
        keys = [RowKey(name, k) for k in range(8)]
        first, second = (made.__getitems__(keys).views[name].input_ids for made in (dataset, other))
        assert not torch.equal(first, second)


def test_a_shared_view_holds_the_ids_once_and_hides_from_both(dataset: RowDataset) -> None:
    batch = dataset.__getitems__([RowKey("order", k) for k in range(8)] + [RowKey("causal", 3)])
    order, hidden = batch.views["order"], batch.views["hidden"]
    assert list(batch.views) == ["order", "hidden", "causal"]
    assert order.input_ids is hidden.input_ids
    assert (order.input_ids.flatten()[hidden.label_positions] == VOCABULARY.mask).any()
    assert order.counts == {"loss": 8} and order.label_positions.tolist() == [row * WINDOW for row in range(8)]
    assert torch.equal(order.token_type_ids, hidden.token_type_ids)
    assert batch.tokens == int(order.lengths.sum() + batch.views["causal"].lengths.sum())
    moved = batch.to("cpu", copy=True)
    assert moved.views["order"].input_ids is moved.views["hidden"].input_ids
    assert moved.views["order"].input_ids is not order.input_ids


@pytest.mark.parametrize("pinned", [True, False])
def test_copies_of_page_locked_tensors_alone_are_not_waited_for(
    pinned: bool, dataset: RowDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle: what `Tensor.to` is asked for; Lightning asks it of a tensor, and never of a batch of its own kind."""
    asked: list[Any] = []
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda self: pinned)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, device, non_blocking=None: asked.append(non_blocking) or self)
    dataset[RowKey("order", 0)].to("cuda")
    assert set(asked) == {pinned}


def test_one_objectives_rows_do_not_depend_on_the_others(text: TokenText, dataset: RowDataset) -> None:
    alone = RowDataset(text, {"masked": SOURCES["masked"]}, VOCABULARY, SETTINGS, "training")
    keys = [RowKey("masked", k) for k in range(5)]
    assert tensors(alone.__getitems__(keys).views["masked"]) == tensors(dataset.__getitems__(keys).views["masked"])


def test_a_text_without_windows(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^expected a training text with windows for objective order, found none: "):
        RowDataset(write(tmp_path, 1), {"order": SOURCES["order"]}, VOCABULARY, RowSettings(4), "training")


def test_an_empty_text_has_no_windows(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"^expected a validation text with windows for objective causal, found none: "
    ):
        RowDataset(write(tmp_path, 0), {"causal": SOURCES["causal"]}, VOCABULARY, RowSettings(4), "validation")


@pytest.mark.parametrize(("window", "last"), [(5, [10, 12]), (11, [0, 11]), (6, [6, 12]), (20, [0, 12])])
def test_windows_cut_a_stretch_and_a_last_token_alone_is_left_out(window: int, last: list[int]) -> None:
    windows = FixedLengthWindows(np.array([0, 12]), window)
    spans = windows[np.arange(len(windows))]
    assert spans[-1].tolist() == last
    assert spans[0, 0] == 0
    assert (spans[1:, 0] == spans[:-1, 1]).all()


@pytest.mark.parametrize("window", [2, 3, 7, 30])
def test_windows_of_stretches(window: int) -> None:
    """Oracle: cutting each stretch by a loop."""
    bounds = np.array([0, 1, 1, 3, 10, 11, 41, 42])
    spans = [
        (start, min(start + window, stop))
        for first, stop in pairwise(bounds)
        for start in range(first, stop, window)
        if stop - start > 1
    ]
    windows = FixedLengthWindows(bounds, window)
    assert windows[np.arange(len(windows))].tolist() == [list(span) for span in spans]


# Documents within rows.


def test_packed_rows_count_positions_anew_in_each_document(dataset: RowDataset, text: TokenText) -> None:
    """Oracle: walking along the text token by token."""
    spans = dataset.windows["causal"][np.arange(len(dataset.windows["causal"]))]
    view = read_stream(text, spans, row_keys(derive_seed("test"), np.arange(len(spans))), WINDOW, VOCABULARY.pad)
    assert view.position_ids is not None
    starts, seen = set(text.documents.tolist()), 0
    for row, (start, stop) in enumerate(spans):
        position = 0
        for place, token in enumerate(range(start, stop)):
            position = 0 if token in starts or place == 0 else position + 1
            assert view.position_ids[row, place] == position
            assert view.input_ids[row, place] == text.tokens[token]
        seen += stop - start
    assert seen == len(text.tokens) and view.lengths.sum() == seen


def test_rows_that_are_not_packed_are_of_one_document_and_hold_all_of_it(text: TokenText) -> None:
    dataset = RowDataset(text, SOURCES, VOCABULARY, RowSettings(WINDOW, packing=False), "training")
    spans = dataset.windows["masked"][np.arange(len(dataset.windows["masked"]))]
    owner = np.searchsorted(text.documents, spans[:, 0], side="right")
    assert (spans[:, 1] <= text.documents[owner]).all()
    covered = np.concatenate([np.arange(start, stop) for start, stop in spans])
    alone = len(text.tokens) - len(covered)
    assert len(set(covered.tolist())) == len(covered)
    assert alone == sum((length - 1) % WINDOW == 0 for length in np.diff(text.documents))
    batch = dataset.__getitems__([RowKey("masked", k) for k in range(8)])
    assert batch.views["masked"].position_ids is None


def test_sentences_are_marked_where_they_start(text: TokenText) -> None:
    spans = np.array([[3, 20], [100, 132], [0, 1]])
    rows = read_stream(text, spans, np.zeros(3, np.uint64), WINDOW, VOCABULARY.pad, marks_sentences=True)
    assert rows.sentence_starts is not None
    marked = [
        (start + np.flatnonzero(row)).tolist() for (start, _), row in zip(spans, rows.sentence_starts, strict=True)
    ]
    starts = text.sentences[:, 0]
    assert marked == [starts[(starts >= start) & (starts < stop)].tolist() for start, stop in spans]


# Windows that grow over the training.


def test_a_shorter_window_reads_the_same_tokens_in_more_rows(text: TokenText, dataset: RowDataset) -> None:
    """Oracle: the rows of the whole window."""
    growing = RowSettings([[0, 8], [10, 16], [20, WINDOW]])
    cut = RowDataset(text, SOURCES, VOCABULARY, growing, "training")
    for step, time in ((0, 8), (9, 8), (10, 16), (19, 16), (20, WINDOW), (99, WINDOW)):
        for name in ("causal", "order"):
            keys = [RowKey(name, k, step) for k in range(40)]
            short, whole = (made.__getitems__(keys).views[name] for made in (cut, dataset))
            length = time if name == "causal" else WINDOW  # pairs keep theirs
            assert short.input_ids.shape[1] == length and (short.lengths > 0).all()
            assert torch.equal(real(short), real(whole))
    assert tensors(short) == tensors(whole)


@pytest.mark.parametrize("frame", ["none", "bos", "bos-eos"])
def test_cut_windows_are_rows_with_keys_of_their_own(frame: Any, text: TokenText) -> None:
    """Oracle: each shorter window read alone. Only what the further frames take of a window is left out."""
    spans = TokenMasking(frame=frame).windows(text, WINDOW, packing=True)[np.arange(20)]
    room = WINDOW // 4 - frame_length(frame)
    whole = row_keys(derive_seed("test"), np.arange(20))
    cut = SplitWindows(spans, 4, room)
    keys = cut.keys(whole)
    assert len(cut.windows) == len(keys) == len(set(keys.tolist()) - set(whole.tolist())) == 80
    for (start, stop), parts in zip(spans.tolist(), cut.windows.reshape(20, 4, 2).tolist(), strict=True):
        assert parts == [[start + n * room, start + (n + 1) * room] for n in range(4)]
        assert stop - parts[-1][1] == 3 * frame_length(frame)


def test_cut_windows_without_tokens_are_left_out() -> None:
    cut = SplitWindows(np.array([[0, 32], [40, 71], [90, 99]]), 4, 8)
    assert np.diff(cut.windows).ravel().tolist() == [8, 8, 8, 8, 8, 8, 8, 7, 8, 1]
    assert len(cut.keys(np.arange(3, dtype=np.uint64))) == 10


def real(view: Any) -> Any:
    """All tokens that are not padding, one after another."""
    return view.input_ids[torch.arange(view.input_ids.shape[1]) < view.lengths[:, None]]


# Corpora mixed at rates of their own.


def test_mixed_corpora_get_their_rates_and_each_window_of_one_once_an_epoch(text: TokenText) -> None:
    settings = RowSettings(WINDOW, rates=(0.75, 0.25))
    dataset = RowDataset(text, SOURCES, VOCABULARY, settings, "training")
    for name in dataset.windows:
        spans = dataset.windows[name][np.arange(len(dataset.windows[name]))]
        first = int((spans[:, 0] < text.corpora[1]).sum())
        order = dataset._order(name, np.arange(1024))
        assert (order < first).sum() == 768
        own = order[order < first]
        dealt = np.sort(np.bincount(own, minlength=first))
        assert dealt[-1] - dealt[0] <= 1


def test_a_corpus_without_windows_for_an_objective_leaves_its_rows_to_the_others(text: TokenText) -> None:
    settings = RowSettings(WINDOW, rates=(0.0, 1.0))
    dataset = RowDataset(text, {"causal": SOURCES["causal"]}, VOCABULARY, settings, "training")
    spans = dataset.windows["causal"][dataset._order("causal", np.arange(300))]
    assert (spans[:, 0] >= text.corpora[1]).all()


class SaysCausal(Corruption):
    """A mistake: views that attend both ways under a corruption that says otherwise."""

    attention = "causal"

    def corrupt(self, rows: Rows, vocabulary: Vocabulary) -> View:
        return rows.labelled(rows.input_ids, rows.input_ids % 2)


def test_a_view_with_another_attention_than_its_corruption_is_refused(text: TokenText) -> None:
    """It would show the objective on whose rows it is what it has to predict."""
    sources = {"causal": ObjectiveRows(NextToken()), "mine": ObjectiveRows(SaysCausal(), shares_rows_with="causal")}
    rows = RowDataset(text, sources, VOCABULARY, SETTINGS, "training")
    with pytest.raises(ValueError, match="expected views with the attention causal of SaysCausal, found bidirectional"):
        rows[RowKey("causal", 0)]
