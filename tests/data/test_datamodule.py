"""Seeds and what runs of one `split_seed` share; the workers of a fit."""

import multiprocessing
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from utils.row_cases import tensors
from utils.small_corpus import BACKBONE, write_corpus

from lm_objectives import Backbone, CausalLM, MaskedLM, Pretraining, TextDataModule
from lm_objectives.corruptions.causal_lm import NextToken
from lm_objectives.corruptions.masked_lm import TokenMasking
from lm_objectives.data.dataset import RowKey
from lm_objectives.data.plan import ObjectiveRows
from lm_objectives.data.preparation.split import DocumentKey
from lm_objectives.errors import InputError

SOURCES = {"causal": ObjectiveRows(NextToken()), "masked": ObjectiveRows(TokenMasking())}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("data")
    write_corpus(place / "corpus.jsonl")
    return place


def made(place: Path, **settings: Any) -> TextDataModule:
    small = {"tokenizer": 300, "seq_len": 32, "global_batch_size": 8, "batch_multiple": 1}
    return TextDataModule(str(place / "corpus.jsonl"), **small, cache=str(place / "cache"), **settings)


def opened(place: Path, seed: int, split_seed: int | None) -> TextDataModule:
    data = made(place, seed=seed, split_seed=split_seed)
    data.open(SOURCES)
    return data


def test_a_corpus_with_a_weight_and_all_of_it_held_out_is_refused(place: Path) -> None:
    """One line cannot be cut, and its key, of which another module is the oracle, is among those held out."""
    (place / "line.txt").write_text("One line alone.")
    keys = {seed: DocumentKey(seed) for seed in range(20)}
    for key in keys.values():
        key.update("One line alone.")
    seed = next(seed for seed, key in keys.items() if int.from_bytes(key.digest(), "little") < 2**62)
    settings = {"tokenizer": 300, "seq_len": 32, "global_batch_size": 8, "cache": str(place / "cache")}
    corpora = [str(place / name) for name in ("corpus.jsonl", "line.txt")]
    for weights, refused in (([1.0, 1.0], True), ([1.0, 0.0], False)):
        data = TextDataModule(corpora, **settings, split_seed=seed, validation_share=0.25, corpus_weights=weights)
        with pytest.raises(InputError, match="found none in number 2: give") if refused else nullcontext():
            data.open(SOURCES)


def held_out_rows(data: TextDataModule) -> list[object]:
    return [{name: tensors(view) for name, view in batch.views.items()} for batch in data.val_dataloader()]


def test_seeds_of_one_split_seed_share_the_cache_and_the_held_out_rows(place: Path) -> None:
    one, other = opened(place, 0, 7), opened(place, 1, 7)
    assert one.text.folder == other.text.folder
    assert held_out_rows(one) == held_out_rows(other) != []
    for name in SOURCES:
        rows = [data.training_rows().__getitems__([RowKey(name, k) for k in range(16)]) for data in (one, other)]
        assert not torch.equal(rows[0].views[name].input_ids, rows[1].views[name].input_ids)


def test_split_seeds_have_texts_and_held_out_rows_of_their_own(place: Path) -> None:
    one, other = opened(place, 0, 7), opened(place, 0, 8)
    assert one.text.folder != other.text.folder
    assert held_out_rows(one) != held_out_rows(other)


def test_split_seed_is_the_seed_where_it_is_not_given(place: Path) -> None:
    one, other = opened(place, 7, None), opened(place, 7, 7)
    assert one.text.folder == other.text.folder
    assert held_out_rows(one) == held_out_rows(other)


class Watched(L.Callback):
    """Keeps the processes that are there in each pass, and the rows that are read; raises an error, if it has one."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.processes: list[set[int | None]] = []
        self.rows: list[Any] = []

    def _see(self, batch: Any, batch_idx: int) -> None:
        if not batch_idx:
            self.processes.append({process.pid for process in multiprocessing.active_children()})
        self.rows.append({name: tensors(view) for name, view in batch.views.items()})

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._see(batch, batch_idx)
        if self.error is not None and trainer.global_step == 3:
            raise self.error

    def on_validation_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, *_: Any) -> None:
        self._see(batch, batch_idx)


def fitted(data: TextDataModule, *callbacks: L.Callback, steps: int = 8) -> tuple[L.Trainer, Pretraining]:
    """Epochs of two steps, each with two passes over four validation batches."""
    trainer = L.Trainer(
        max_steps=steps,
        limit_train_batches=2,
        val_check_interval=1,
        limit_val_batches=4,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=list(callbacks),
    )
    module = Pretraining(Backbone("llama", BACKBONE), {"causal": CausalLM(), "masked": MaskedLM()})
    trainer.fit(module, data)
    return trainer, module


@pytest.fixture
def no_child_left(own_signals: None) -> Iterator[None]:
    before = set(multiprocessing.active_children())
    yield
    assert set(multiprocessing.active_children()) == before


def test_workers_stay_from_pass_to_pass_and_end_with_the_fit(place: Path, no_child_left: None) -> None:
    """Oracle: the rows of a fit without workers."""
    with_workers, without = Watched(), Watched()
    others = {process.pid for process in multiprocessing.active_children()}
    fitted(made(place, num_workers=2), with_workers)
    assert {process.pid for process in multiprocessing.active_children()} == others
    fitted(made(place), without)
    assert with_workers.rows == without.rows
    training, *later = [processes - others for processes in with_workers.processes]
    assert len(later) == 11 and len(training) == 2
    assert all(processes == later[0] > training and len(processes) == 4 for processes in later)


@pytest.mark.parametrize("error", [RuntimeError("a step failed"), KeyboardInterrupt()])
def test_no_worker_outlives_a_fit_that_fails(place: Path, error: BaseException, no_child_left: None) -> None:
    watched, others = Watched(error), set(multiprocessing.active_children())
    with pytest.raises((RuntimeError, SystemExit)):  # Lightning exits on Ctrl-C
        fitted(made(place, num_workers=1), watched)
    assert len(watched.processes[-1]) == len(others) + 2
    assert set(multiprocessing.active_children()) == others


def test_what_follows_a_fit_has_its_rows(place: Path, no_child_left: None) -> None:
    """Oracle: the rows of a data module that was never in a fit."""
    data, fresh = made(place, num_workers=1), opened(place, 0, None)
    first, second = Watched(), Watched()
    trainer, module = fitted(data, first)
    fitted(data, second)
    assert second.rows == first.rows
    assert data.vocabulary == fresh.vocabulary and len(data.text.training.tokens) == len(fresh.text.training.tokens)
    key = [RowKey("causal", 3)]
    rows = [tensors(one.training_rows().__getitems__(key).views["causal"]) for one in (data, fresh)]
    assert rows[0] == rows[1]
    assert trainer.validate(module, data, verbose=False)


def test_workers_without_a_trainer_end_with_their_loader(place: Path, no_child_left: None) -> None:
    """Oracle: the held-out rows that are made in this process."""
    data, fresh = made(place, num_workers=1), opened(place, 0, None)
    data.open(SOURCES)
    assert held_out_rows(data) == held_out_rows(fresh)
    assert next(iter(data.train_dataloader())).tokens == next(iter(fresh.train_dataloader())).tokens
