"""Counts of training targets: right on texts of any kind, kept between starts, and never taken from another's file."""

import importlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from utils import row_cases

from lm_objectives import TextDataModule
from lm_objectives.corruptions.base import Corruption
from lm_objectives.corruptions.causal_lm import NextToken
from lm_objectives.corruptions.masked_lm import TokenMasking
from lm_objectives.corruptions.next_sentence import NextSentencePairs
from lm_objectives.corruptions.prefix_lm import PrefixNextToken
from lm_objectives.corruptions.replaced_token import TokenReplacement
from lm_objectives.corruptions.sentence_order import SentenceOrderPairs
from lm_objectives.corruptions.span_denoising import SpanCorruption
from lm_objectives.corruptions.text_denoising import TextInfilling
from lm_objectives.data import target_counts
from lm_objectives.data.dataset import RowDataset, RowKey, RowSettings
from lm_objectives.data.plan import ObjectiveRows
from lm_objectives.data.target_counts import check_scored, count_targets
from lm_objectives.objectives.metrics import ConstantNats, over_vocabulary
from lm_objectives.views import Rows, View, Vocabulary

WINDOW = 32
SETTINGS = RowSettings(WINDOW)
SOURCES = {
    "causal": ObjectiveRows(NextToken()),
    "masked": ObjectiveRows(TokenMasking()),
    "replaced": ObjectiveRows(TokenReplacement()),
    "prefix": ObjectiveRows(PrefixNextToken()),
    "spans": ObjectiveRows(SpanCorruption()),
    "row_of_spans": ObjectiveRows(SpanCorruption(0.5, 3.0, "prefix")),
    "text": ObjectiveRows(TextInfilling()),
}
PAIRS = {
    "order": ObjectiveRows(SentenceOrderPairs()),
    "guest": ObjectiveRows(TokenMasking(0.3), shares_rows_with="order"),
    "next": ObjectiveRows(NextSentencePairs()),
}
_WORDS = ["the", "the", "the", "of", "of", "and", "we", "people", "war", "work", "law", "peace", "year", "nation"]


def documents(kind: str) -> list[str]:
    """Whole documents, a sentence each, or six words each."""
    draw = np.random.default_rng(0)
    words = [_WORDS[place] for place in draw.integers(0, len(_WORDS), 6000)]
    sentences = [" ".join(words[at : at + 10]).capitalize() + "." for at in range(0, len(words), 10)]
    if kind == "six words":
        return [" ".join(words[at : at + 6]) for at in range(0, len(words), 6)]
    return sentences if kind == "one sentence" else [" ".join(sentences[at : at + 20]) for at in range(0, 600, 20)]


@pytest.fixture(scope="module", params=["whole", "one sentence", "six words"])
def data(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TextDataModule:
    folder = tmp_path_factory.mktemp("texts")
    lines = [json.dumps({"text": text}) + "\n" for text in documents(request.param)]
    (folder / "text.jsonl").write_text("".join(lines), encoding="utf-8")
    made = TextDataModule(
        str(folder / "text.jsonl"),
        tokenizer=340,
        seq_len=WINDOW,
        global_batch_size=16,
        batch_multiple=1,
        cache=str(folder),
    )
    made.open(SOURCES | (PAIRS if request.param == "whole" else {}))
    return made


def by_hand(rows: RowDataset, host: str, name: str) -> dict[int, int]:
    """Targets of an epoch, some rows at a time."""
    keys = [RowKey(host, k) for k in range(len(rows.windows[host]))]
    batches = (rows.__getitems__(keys[at : at + 37]) for at in range(0, len(keys), 37))
    return Counter(target for batch in batches for target in batch.views[name].targets.tolist())


def as_counter(counts: torch.Tensor) -> dict[int, int]:
    return {number: count for number, count in enumerate(counts.tolist()) if count}


def test_they_are_counts_by_hand(data: TextDataModule) -> None:
    """Oracle: all rows of an epoch, made by the corruption of held-out rows, target by target."""
    found = data.target_counts()
    sources = data._validation_sources()
    rows = RowDataset(data.text.training, sources, data.vocabulary, SETTINGS, "training")
    assert set(found) == set(sources)
    for name, source in sources.items():
        assert as_counter(found[name]) == by_hand(rows, source.shares_rows_with or name, name), name


def test_next_tokens_are_those_of_the_text(data: TextDataModule) -> None:
    """Oracle: the text itself. Every token is a target once, but for bos and the first of each window."""
    tokens = np.asarray(data.text.training.tokens)
    first = np.zeros(len(tokens), dtype=bool)
    first[::WINDOW] = True
    first[np.asarray(data.text.training.documents[:-1])] = True
    oracle = np.bincount(tokens[~first], minlength=data.vocabulary.size)
    counts = over_vocabulary(data.target_counts()["causal"], data.vocabulary.size)
    assert counts.tolist() == oracle.tolist()
    assert counts[data.vocabulary.bos] == 0


def test_no_unigram_model_of_the_text_is_better(data: TextDataModule) -> None:
    """Oracle: the add-one model of all tokens of the text. Where targets are tokens like any other, its only merit on
    held-out rows is that it has counted more of them, which smoothing of V / N nats bounds; .02 are for chance.
    """
    tokens = torch.from_numpy(np.bincount(data.text.training.tokens, minlength=data.vocabulary.size))
    sources = {name: ObjectiveRows(source.corruption.for_validation()) for name, source in SOURCES.items()}
    rows = RowDataset(data.text.validation, sources, data.vocabulary, SETTINGS, "validation")
    for name, counted in ((name, data.target_counts()[name]) for name in sources):
        own, plain = ConstantNats(over_vocabulary(counted, data.vocabulary.size)), ConstantNats(tokens)
        view = rows.__getitems__([RowKey(name, k) for k in range(len(rows.windows[name]))]).views[name]
        for metric in (own, plain):
            metric.update(view.targets)
        assert own.compute() < plain.compute() + data.vocabulary.size / counted.sum() + 0.02, name


# What is kept.


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> TextDataModule:
    folder = tmp_path_factory.mktemp("small")
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in documents("whole")))
    made = TextDataModule(
        str(folder / "a.jsonl"),
        tokenizer=340,
        seq_len=WINDOW,
        global_batch_size=16,
        batch_multiple=1,
        cache=str(folder),
    )
    made.open(SOURCES | PAIRS)
    return made


Count = Callable[..., dict[str, torch.Tensor]]


@pytest.fixture
def count(small: TextDataModule, tmp_path: Path) -> Count:
    """Counts of the small text, kept in an empty folder."""

    def call(
        sources: Mapping[str, ObjectiveRows], settings: RowSettings = SETTINGS, folder: Path = tmp_path
    ) -> dict[str, torch.Tensor]:
        return count_targets(small.text.training, sources, small.vocabulary, settings, folder)

    return call


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_second_start_reads_what_the_first_counted(
    count: Count, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = count(SOURCES | PAIRS)
    files = len(SOURCES | PAIRS) - 1  # a guest lies beside its host
    assert len(list(tmp_path.iterdir())) == files
    monkeypatch.delattr(target_counts, "_count")
    assert same(count(SOURCES | PAIRS), first)
    assert same(count({name: replace(source) for name, source in SOURCES.items()}), {n: first[n] for n in SOURCES})


OTHERS: dict[str, Any] = {
    "corruption": {"sources": {"it": ObjectiveRows(SpanCorruption(0.3))}},
    "class": {"sources": {"it": ObjectiveRows(TextInfilling())}},
    "name": {"sources": {"other": ObjectiveRows(SpanCorruption())}},
    "seed": {"settings": RowSettings(WINDOW, seed=1)},
    "window": {"settings": RowSettings(WINDOW // 2)},
    "packing": {"settings": RowSettings(WINDOW, packing=False)},
    "mixture": {"settings": RowSettings(WINDOW, rates=(1.0,))},
}


@pytest.mark.parametrize("change", OTHERS)
def test_others_have_files_of_their_own(change: str, count: Count, tmp_path: Path) -> None:
    before = {"sources": {"it": ObjectiveRows(SpanCorruption())}}
    count(**before)
    count(**before | OTHERS[change])
    count(**before)
    assert len(list(tmp_path.iterdir())) == 2


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def holed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 8] = b"\xff" * 8
    path.write_bytes(content)


def another(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, x=np.zeros(3))


def of_fractions(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, **{"counts/it": np.zeros(3)})


def bare(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


@pytest.mark.parametrize("spoil", [cut_off, holed, another, of_fractions, bare, lambda path: path.write_bytes(b"")])
def test_a_file_that_is_not_whole_is_made_anew(spoil: Callable[[Path], Any], count: Count, tmp_path: Path) -> None:
    sources = {"it": SOURCES["causal"]}
    right = count(sources)
    [file] = tmp_path.iterdir()
    content = file.read_bytes()
    spoil(file)
    assert same(count(sources), right)
    assert file.read_bytes() == content


def test_a_folder_that_cannot_be_written_is_done_without(count: Count, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    sources = {"it": SOURCES["causal"]}
    assert same(count(sources, folder=tmp_path / "file"), count(sources))


def test_a_large_text_is_counted_in_part(small: TextDataModule, count: Count, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: the first rows one by one."""
    monkeypatch.setattr(target_counts, "_TOKENS", 10 * WINDOW)
    rows = RowDataset(small.text.training, SOURCES, small.vocabulary, SETTINGS, "training")
    oracle = Counter(int(token) for k in range(10) for token in rows[RowKey("spans", k)].views["spans"].targets)
    assert as_counter(count({"spans": SOURCES["spans"]})["spans"]) == oracle


def test_held_out_rates_share_a_file(small: TextDataModule) -> None:
    """Held-out rows are masked alike whatever a run trains with, and so are those that are counted."""
    before = small.target_counts()["masked"]
    try:
        small.open({**SOURCES, **PAIRS, "masked": ObjectiveRows(TokenMasking([[0.0, 0.4], [1.0, 0.15]], unit="word"))})
        assert torch.equal(small.target_counts()["masked"], before)
    finally:
        small.open(SOURCES | PAIRS)


# A user's own corruptions.


@dataclass(frozen=True)
class Distance(Corruption):
    """Targets that are no classes."""

    attention = "causal"

    def corrupt(self, rows: Rows, vocabulary: Vocabulary) -> View:
        view = NextToken().corrupt(rows, vocabulary)
        return replace(view, targets=view.targets - 9)


def test_targets_that_are_no_classes_are_not_counted(count: Count, monkeypatch: pytest.MonkeyPatch) -> None:
    assert count({"it": ObjectiveRows(Distance())}) == {}
    monkeypatch.delattr(target_counts, "_count")
    assert count({"it": ObjectiveRows(Distance())}) == {}


def test_what_has_no_plain_data_is_counted_each_time(count: Count, tmp_path: Path) -> None:
    class Local(NextToken):
        """Of a notebook."""

    assert torch.equal(count({"it": ObjectiveRows(Local())})["it"], count({"it": SOURCES["causal"]})["it"])
    assert len(list(tmp_path.iterdir())) == 1


OWN = """
from lm_objectives.corruptions.causal_lm import NextToken

class Own(NextToken):
    def corrupt(self, rows, vocabulary):
        view = super().corrupt(rows, vocabulary)
        view.targets.{change}
        return view
"""


def test_a_class_that_changes_is_counted_anew(count: Count, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "here")
    found = []
    for change in ("zero_()", "fill_(7)"):
        (tmp_path / "here" / "own_corruption.py").write_text(OWN.format(change=change))
        sys.modules.pop("own_corruption", None)
        importlib.invalidate_caches()
        own = importlib.import_module("own_corruption").Own()
        found.append(as_counter(count({"it": ObjectiveRows(own)}, folder=tmp_path / "kept")["it"]))
    assert [list(counts) for counts in found] == [[0], [7]]


# A text of which an objective scores nothing is refused before the training.


@dataclass(frozen=True)
class LateMasking(TokenMasking):
    """Masks nothing before step 50."""

    step: int = 0

    def at_step(self, step: int, steps: int) -> Corruption:
        del steps
        return replace(self, step=step)

    def corrupt(self, rows: Rows, vocabulary: Vocabulary) -> View:
        lengths = rows.lengths if self.step >= 50 else np.zeros_like(rows.lengths)
        return super().corrupt(replace(rows, lengths=lengths), vocabulary)


def test_sources_that_score_pass(tmp_path: Path) -> None:
    check_scored(
        RowDataset(row_cases.write(tmp_path, 20), row_cases.SOURCES, row_cases.VOCABULARY, SETTINGS, "training")
    )


def test_an_objective_that_scores_later_passes(tmp_path: Path) -> None:
    sources = {"masked": ObjectiveRows(LateMasking(0.5))}
    check_scored(
        RowDataset(
            row_cases.write(tmp_path, 20), sources, row_cases.VOCABULARY, replace(SETTINGS, steps=100), "training"
        )
    )
    with pytest.raises(ValueError, match="that objective masked can score"):
        check_scored(
            RowDataset(
                row_cases.write(tmp_path, 20), sources, row_cases.VOCABULARY, replace(SETTINGS, steps=40), "training"
            )
        )


@pytest.mark.parametrize("name", ["masked", "hidden"])
def test_a_text_of_special_tokens_alone_is_one_clear_line(name: str, tmp_path: Path) -> None:
    """As where a tokenizer knows no letter of a language: every token is unknown, and none is ever masked."""
    text = row_cases.write(tmp_path, 20)
    nothing = replace(row_cases.VOCABULARY, special=tuple(range(80)))
    sources = {host: row_cases.SOURCES[host] for host in ({"masked"} if name == "masked" else {"order", "hidden"})}
    with pytest.raises(
        ValueError, match=f"^expected text that objective {name} can score, found no position"
    ) as caught:
        check_scored(RowDataset(text, sources, nothing, SETTINGS, "training"))
    assert "\n" not in str(caught.value)
