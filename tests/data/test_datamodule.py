"""Runs of one `split_seed` share text, tokenizer and held-out rows; the seed gives training rows their order."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from utils.row_cases import tensors
from utils.small_corpus import write_corpus

from lm_objectives import TextDataModule
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


def opened(place: Path, seed: int, split_seed: int | None) -> TextDataModule:
    settings = {
        "tokenizer": 300,
        "seq_len": 32,
        "global_batch_size": 8,
        "batch_multiple": 1,
        "cache": str(place / "cache"),
    }
    data = TextDataModule(str(place / "corpus.jsonl"), **settings, seed=seed, split_seed=split_seed)
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
