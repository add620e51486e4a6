"""A cache holds every document once, whatever the cores and pieces, and no held-out text trains the tokenizer."""

import logging
import pickle
import re
import string
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, models, normalizers
from transformers import PreTrainedTokenizerFast
from utils.prepare_cases import DOCUMENTS, WORDS, content, make, texts, write

from lm_objectives.data import words
from lm_objectives.data.cache import TokenText, open_cache
from lm_objectives.data.preparation import chunks, notices
from lm_objectives.data.preparation import prepare as preparing
from lm_objectives.data.preparation.prepare import prepare
from lm_objectives.data.tokenizer import make_tokenizer, save_tokenizer


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    return write(tmp_path / "corpus", DOCUMENTS)


# What is in it.


def test_two_preparations_are_bit_equal(tmp_path: Path, corpus: str) -> None:
    first, second = (make(tmp_path / name, corpus) for name in "ab")
    assert first.name == second.name
    assert content(first) == content(second)
    assert [path.name for path in (tmp_path / "a").iterdir()] == [first.name]


@pytest.mark.parametrize("cores", [1, 3])
def test_cores_change_nothing(tmp_path: Path, corpus: str, cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "_CHUNK", 1000)
    oracle = content(make(tmp_path / "a", corpus))
    monkeypatch.setattr(chunks, "available_cores", lambda: cores)
    assert content(make(tmp_path / "b", corpus)) == oracle


def test_holds_every_document_once(tmp_path: Path, corpus: str) -> None:
    found = open_cache(make(tmp_path / "caches", corpus))
    training, held_out = (texts(found, split) for split in (found.training, found.validation))
    assert (len(training), len(held_out)) == (18, 6)
    number = {next(n for n, word in enumerate(WORDS) if f"The {word} sat." in text): text for text in training}
    assert list(number) == sorted(number)
    oracle = [document.strip() for document in DOCUMENTS]
    assert sorted(text.strip().replace("\n\n ", "\n\n") for text in training + held_out) == sorted(oracle)


def test_equal_documents_are_on_one_side_whatever_the_order(tmp_path: Path) -> None:
    several = {}
    for name, documents in (("a", DOCUMENTS * 3), ("b", DOCUMENTS[::-1])):
        found = open_cache(make(tmp_path / "caches", write(tmp_path / name, documents)))
        several[name] = texts(found, found.training), texts(found, found.validation)
    training, held_out = several["a"]
    assert not {*training} & {*held_out}
    assert ({*training}, {*held_out}) == ({*several["b"][0]}, {*several["b"][1]})
    assert (len(training), len(held_out)) == (54, 18)


def test_copies_but_for_case_space_and_punctuation_are_on_one_side(tmp_path: Path) -> None:
    copies = [text.upper().replace(".", " …").replace(" ", "\n") for text in DOCUMENTS]
    found = open_cache(make(tmp_path / "caches", write(tmp_path / "corpus", DOCUMENTS + copies)))
    sides = [texts(found, split) for split in (found.training, found.validation)]
    words = [[next(word for word in WORDS if word in text.lower()) for text in side] for side in sides]
    assert [len(side) for side in words] == [36, 12]
    assert not {*words[0]} & {*words[1]}


def test_corpora_lie_one_after_the_other(tmp_path: Path, corpus: str) -> None:
    more = write(tmp_path / "more", ["The emu sat.", "An emu ran.", "Emus!"])
    alone = open_cache(make(tmp_path / "caches", corpus))
    both = open_cache(make(tmp_path / "caches", [more, corpus], validation_share=0.3))
    assert [alone.training.corpora.tolist(), alone.validation.corpora.tolist()] == [
        [0, len(alone.training.tokens)],
        [0, len(alone.validation.tokens)],
    ]
    for split in (both.training, both.validation):
        assert (len(split.corpora), split.corpora[0], split.corpora[-1]) == (3, 0, len(split.tokens))
        assert split.corpora[1] in split.documents
        decoded = texts(both, split)
        emus = [("emu" in text.lower()) for text in decoded]
        assert emus == sorted(emus, reverse=True)
        assert split.documents[sum(emus)] == split.corpora[1]


def test_long_documents_are_as_short_ones(tmp_path: Path, corpus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: the same corpus with all documents in one piece and one chunk."""
    tokenizer = str(make(tmp_path / "trained", corpus) / "tokenizer")
    oracle = content(make(tmp_path / "a", corpus, tokenizer=tokenizer, pairs=True))
    monkeypatch.setattr("lm_objectives.data.preparation.documents.MAX_PIECE", 100)
    monkeypatch.setattr("lm_objectives.data.preparation.encode._LONGEST", 60)
    monkeypatch.setattr(chunks, "_CHUNK", 50)
    assert content(make(tmp_path / "b", corpus, tokenizer=tokenizer, pairs=True)) == oracle


def test_held_out_text_never_trains_the_tokenizer(tmp_path: Path, corpus: str) -> None:
    found = open_cache(make(tmp_path / "caches", corpus, tokenizer=400))
    held_out = [
        n for n, word in enumerate(WORDS) if any(f"The {word} sat." in t for t in texts(found, found.validation))
    ]
    trained = [document for number, document in enumerate(DOCUMENTS) if number not in held_out]
    vocabulary = found.tokenizer.get_vocab()
    assert vocabulary == make_tokenizer(400, trained).get_vocab()
    assert vocabulary != make_tokenizer(400, DOCUMENTS).get_vocab()
    merged = {number for number, word in enumerate(WORDS) if "Ġ" + word in vocabulary}
    assert merged and not merged & {*held_out}


def _noted(texts: Iterable[str], read: list[str]) -> Iterator[str]:
    for text in texts:
        read.append(text)
        yield text


def test_tokenizer_is_trained_on_a_share_of_a_large_corpus(
    tmp_path: Path, corpus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    monkeypatch.setattr(preparing, "_TRAINED_ON", sum(map(words.training_cost, DOCUMENTS)) // 2)
    monkeypatch.setattr(
        preparing, "make_tokenizer", lambda size, texts, *rest: make_tokenizer(size, _noted(texts, read), *rest)
    )
    found = open_cache(make(tmp_path / "caches", corpus))
    assert len(read) == 9
    assert found.statistics.trained_on == pytest.approx(0.5, abs=0.01)


def test_tokenizer_is_trained_on_a_share_of_a_corpus_of_many_words(
    tmp_path: Path, corpus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle: the words between white space and signs, and the signs between them, each once."""
    signs = re.escape(string.punctuation)
    different = {word for document in DOCUMENTS for word in re.findall(rf"[{signs}]+|[^\s{signs}]+", document)}
    monkeypatch.setattr(preparing, "_REMEMBERED", sum(len(word.encode()) + 8 for word in different) // 4)
    statistics = open_cache(make(tmp_path / "caches", corpus)).statistics
    assert statistics.trained_on == pytest.approx(0.25, abs=0.01)


def test_statistics(tmp_path: Path, corpus: str) -> None:
    (Path(corpus) / "9.txt").write_text(" \n")
    statistics = open_cache(make(tmp_path / "caches", corpus)).statistics
    assert statistics.words == sum(len(document.split()) for document in DOCUMENTS)
    assert statistics.characters == sum(map(len, DOCUMENTS))
    assert (statistics.unspaced, statistics.unknown, statistics.trained_on) == (0, 0, 1.0)
    assert (statistics.empty, statistics.without_tokens) == (1, 0)


def test_tokens_that_corruptions_ask_for(tmp_path: Path, corpus: str) -> None:
    path = make(tmp_path / "caches", corpus, tokens=("<b>", "<a>"))
    vocabulary = open_cache(path).vocabulary
    assert vocabulary.size == 300
    assert dict(vocabulary.named_tokens) == {"<a>": 4, "<b>": 5}
    assert {4, 5} < {*vocabulary.special}
    assert make(tmp_path / "caches", corpus, tokens=("<a>", "<b>", "<a>")) == path
    assert make(tmp_path / "caches", corpus) != path


def test_text_is_pickled_by_its_path(tmp_path: Path, corpus: str) -> None:
    found = open_cache(make(tmp_path / "caches", corpus))
    packed = pickle.dumps(found.training)
    assert len(packed) < 500 < found.training.tokens.nbytes
    again: TokenText = pickle.loads(packed)
    for name in ("tokens", "sentences", "paragraphs", "documents", "corpora"):
        array = getattr(again, name)
        assert isinstance(array, np.memmap)
        assert not array.flags.writeable
        assert np.array_equal(array, getattr(found.training, name))
    again = pickle.loads(pickle.dumps(found))
    assert again.vocabulary == found.vocabulary
    assert np.array_equal(again.vocabulary.starts_word, found.vocabulary.starts_word)


def test_held_out_text_of_the_users_own(tmp_path: Path, corpus: str) -> None:
    """All of the corpora train, and all of the others are held out, each side with its own corpora."""
    one, other = (write(tmp_path / name, [f"The {name} is mine.", f"My {name}."]) for name in ("emu", "yak"))
    found = open_cache(make(tmp_path / "caches", [corpus, one], validation_corpus=[other, one, other], pairs=True))
    assert len(texts(found, found.training)) == len(DOCUMENTS) + 2
    held_out = [text.strip() for text in texts(found, found.validation)]
    assert held_out == ["The yak is mine.", "My yak.", "The emu is mine.", "My emu.", "The yak is mine.", "My yak."]
    assert [len(split.corpora) for split in (found.training, found.validation)] == [3, 4]
    for split, documents in ((found.training, (0, 24, 26)), (found.validation, (0, 2, 4, 6))):
        assert split.corpora.tolist() == [split.documents[number] for number in documents]
    vocabulary = open_cache(make(tmp_path / "caches", [corpus, one])).tokenizer.get_vocab()
    assert found.tokenizer.get_vocab() != vocabulary


def test_a_sentence_a_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one two\nthree four. five\n\nsix\nseven\n\n" * 20)
    settings = {"documents": "blank-line", "sentences": "line", "pairs": True}
    found = open_cache(make(tmp_path / "caches", str(tmp_path / "a.txt"), **settings))
    for stream in (found.training, found.training.pairs):
        assert stream is not None
        sentences = {found.tokenizer.decode(stream.tokens[a:b]).strip() for a, b in stream.sentences}
        assert sentences <= {"one two", "three four. five", "six", "seven"}
        assert len(stream.sentences) == 2 * (len(stream.documents) - 1)


def test_what_is_not_read_is_told_before_and_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Once in a process, before the tokenizer is trained, and also where the cache is there."""
    caplog.set_level(logging.INFO, "lm_objectives")
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "a.jsonl").write_text("".join(f'{{"text": "Text {n}.", "id": {n}}}\n' for n in range(30)))
    (tmp_path / "t" / "b.md").write_text("")
    oracle = [
        f"not read in {tmp_path}/t: files of other kinds, 1 (b.md): data.format says how to read files of any name",
        f"not read in {tmp_path}/t: fields, 1 (id): data.text_field names the one that is read",
    ]
    for again in (False, True):
        notices._tell.cache_clear()
        caplog.clear()
        for _ in range(2):
            make(tmp_path / "caches", str(tmp_path / "t"))
        said = [record.getMessage() for record in caplog.records]
        assert [line for line in said if line.startswith("not read")] == oracle
        assert said.index(oracle[1]) < ([n for n, line in enumerate(said) if line.startswith("tokenizer")] or [99])[0]
        assert any(line.startswith("tokenizer") for line in said) is not again


# Its name.


@pytest.mark.parametrize(
    "change",
    [
        {"split_seed": 1},
        {"validation_share": 0.5},
        {"tokenizer": 301},
        {"language": "de"},
        {"text_field": "body"},
        {"documents": "blank-line"},
        {"documents": "sat"},
        {"format": "text"},
        {"sentences": "line"},
        {"validation_corpus": ""},
        {"tokens": ("<a>",)},
    ],
)
def test_every_setting_names_another_cache(tmp_path: Path, corpus: str, change: dict[str, Any]) -> None:
    if "validation_corpus" in change:
        change = {"validation_corpus": corpus}
    assert make(tmp_path, corpus, **change) != make(tmp_path, corpus)


def test_content_and_not_place_names_the_cache(tmp_path: Path, corpus: str) -> None:
    first = make(tmp_path / "caches", corpus)
    moved = Path(corpus).rename(tmp_path / "moved")
    assert make(tmp_path / "caches", str(moved)) == first
    assert make(tmp_path / "caches", [str(moved / f"{n:04d}.txt") for n in range(8)]) != first
    (moved / "0000.txt").write_text(DOCUMENTS[0] + " More.")
    assert make(tmp_path / "caches", str(moved)) != first


def test_content_alone_tells_documents_from_others(
    tmp_path: Path, corpus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those of a corpus that is too large for its content to name the cache."""
    monkeypatch.setattr("lm_objectives.data.preparation.fingerprint._HASHED_BYTES", 0)
    folders = [make(tmp_path / "caches", corpus)]
    moved = Path(corpus).rename(tmp_path / "moved")
    folders += [make(tmp_path / "caches", str(moved), tokenizer=301)]
    (moved / "0000.txt").write_text(DOCUMENTS[0] + " More.")
    folders += [make(tmp_path / "caches", str(moved))]
    one, again, other = (open_cache(folder).identity for folder in folders)
    assert one == again != other


def test_cache_of_other_versions_is_made_anew_and_that_is_said(
    tmp_path: Path, corpus: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "lm_objectives")
    first = make(tmp_path / "caches", corpus)
    assert "anew" not in caplog.text
    monkeypatch.setattr(preparing, "version", lambda package: "9.9")
    second = make(tmp_path / "caches", corpus)
    assert second != first
    assert second.name.rpartition("-")[0] == first.name.rpartition("-")[0]
    [line] = [record.getMessage() for record in caplog.records if "anew" in record.getMessage()]
    assert line.startswith(f"{first.name} was made by format 11, tokenizers 0.")
    assert line.endswith("making it anew with format 11, tokenizers 9.9, sentencex 9.9")


def test_an_older_cache_that_is_spoilt_is_passed_over(
    tmp_path: Path, corpus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make(tmp_path / "caches", corpus)
    (first / "meta.json").write_text("{")
    monkeypatch.setattr(preparing, "version", lambda package: "9.9")
    assert open_cache(make(tmp_path / "caches", corpus)).folder != first


# Others.


def test_found_again_quickly_and_without_the_libraries_that_made_it(tmp_path: Path) -> None:
    prepare(tmp_path, tokenizer=300, validation_share=0.25)
    code = f"""
import sys, time
from lm_objectives.data.cache import open_cache
from lm_objectives.data.preparation.prepare import prepare
start = time.perf_counter()
open_cache(prepare({str(tmp_path)!r}, tokenizer=300, validation_share=0.25))
print(time.perf_counter() - start, *{{"datasets", "sentencex", "tokenizers", "transformers"}} & {{*sys.modules}})
"""
    seconds, *imported = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert float(seconds) < 0.2
    assert not imported


def test_corpus_of_one_document(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One. Two.\n\nThree.\n\nFour.")
    found = open_cache(make(tmp_path / "caches", str(tmp_path / "a.txt")))
    decode = found.tokenizer.decode
    assert decode(found.training.tokens) == "[BOS] One. Two.\n\nThree.[EOS]"
    assert decode(found.validation.tokens) == "[BOS] Four.[EOS]"


def test_chinese(tmp_path: Path) -> None:
    """Sentences stand where 。！？ end them, and nothing stands between them but what stands in the text."""
    text = "她几点来？2001年的冬天很冷！没有人出门。\n\n“好。”他说。"
    (tmp_path / "a.txt").write_text(f"{text}\n\n再见。", encoding="utf-8")
    found = open_cache(make(tmp_path / "caches", str(tmp_path / "a.txt"), language="zh"))
    training, decode = found.training, found.tokenizer.decode
    sentences = [decode(training.tokens[start:stop]) for start, stop in training.sentences]
    assert sentences == [" 她几点来？", "2001年的冬天很冷！", "没有人出门。", "“好。”", "他说。"]
    assert training.paragraphs.tolist() == [0, 3, 5]
    assert [decode(training.tokens[a:b]) for a, b in pairwise(training.documents)] == [f"[BOS] {text}[EOS]"]
    assert found.statistics.unspaced == sum("\u4e00" <= letter <= "\u9fff" for letter in f"{text}再见")


def test_nothing_to_open(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^expected a token cache, found none at .*: make it with prepare"):
        open_cache(tmp_path)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def of_another_version(path: Path) -> None:
    path.write_text(path.read_text().replace('"characters"', '"letters"'))


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("training/tokens.npy", cut_off),
        ("validation/sentences.npy", Path.unlink),
        ("tokenizer/tokenizer.json", cut_off),
        ("starts_word.npy", lambda path: path.write_bytes(b"")),
        ("meta.json", cut_off),
        ("meta.json", of_another_version),
    ],
)
def test_a_cache_that_is_not_whole_is_one_clear_line(
    tmp_path: Path, corpus: str, name: str, spoil: Callable[[Path], Any]
) -> None:
    path = make(tmp_path / "caches", corpus)
    spoil(path / name)
    with pytest.raises(
        ValueError, match=r"^expected a whole token cache of .*, found a file .*\): remove the"
    ) as error:
        open_cache(path)
    assert f" in {path} (" in str(error.value) and "\n" not in str(error.value)


def test_bits_per_byte_are_of_the_bytes_of_the_text(tmp_path: Path, corpus: str) -> None:
    """Oracle: -log2 of a model over every held-out token but bos, summed, over the bytes of the documents."""
    found = open_cache(make(tmp_path / "caches", corpus))
    documents = [found.validation.tokens[a + 1 : b] for a, b in pairwise(found.validation.documents)]
    nats = np.random.default_rng(0).uniform(0, 9, found.vocabulary.size)
    bits = sum(nats[tokens].sum() for tokens in documents) / np.log(2)
    decoded = {found.tokenizer.decode(tokens[:-1]) for tokens in documents}
    held_out = [text for text in DOCUMENTS if f" {text}" in decoded]
    assert len(held_out) == len(documents)
    mean = np.log(2) * bits / sum(map(len, documents))
    assert found.bits_per_byte(mean) == pytest.approx(bits / sum(len(text.encode()) for text in held_out))


def test_a_text_that_the_normalizer_empties_is_one_clear_line(tmp_path: Path, corpus: str) -> None:
    emptied = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    emptied.normalizer = normalizers.Replace(Regex("[A-Za-z]|[^A-Za-z]"), "")
    save_tokenizer(PreTrainedTokenizerFast(tokenizer_object=emptied), tmp_path / "tokenizer")
    told = r"^expected training documents that the tokenizer makes tokens of, found none among its \d+: add text, or"
    with pytest.raises(ValueError, match=told) as error:
        make(tmp_path / "caches", corpus, tokenizer=str(tmp_path / "tokenizer"))
    assert "\n" not in str(error.value)
