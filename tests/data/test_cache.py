"""The cache is whole or not there, the same each time, and never lets held-out text into the tokenizer."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lm_objectives.data import cache
from lm_objectives.data.cache import TokenText, open_cache, prepare
from lm_objectives.data.encoding import training_pieces
from lm_objectives.data.split import hold_out
from lm_objectives.data.tokenizer import make_tokenizer

# Each document has a word of its own, often enough to be merged where it is seen.
WORDS = ["zebra", "quokka", "walrus", "ibex", "jackal", "python", "gibbon", "marmot"]
DOCUMENTS = [f"The {word} sat. A {word} ran!\n\n{f'It is a {word}. ' * 30}" for word in WORDS]


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number, document in enumerate(DOCUMENTS):
        (folder / f"{number}.txt").write_text(document)
    return str(folder)


def _prepare(folder: Path, corpus: str, **settings: Any) -> Path:
    return prepare(folder, corpus, **{"tokenizer": 300, "validation_share": 0.25, **settings})


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_two_preparations_are_bit_equal(tmp_path: Path, corpus: str) -> None:
    first, second = (_prepare(tmp_path / name, corpus) for name in "ab")
    assert first.name == second.name
    assert _bytes(first) == _bytes(second)
    assert [path.name for path in (tmp_path / "a").iterdir()] == [first.name]


def test_holds_every_document_once(tmp_path: Path, corpus: str) -> None:
    found = open_cache(_prepare(tmp_path / "caches", corpus))
    _, training, held_out = hold_out(DOCUMENTS, 0.25, seed=0)
    for text, chosen in ((found.training, training), (found.validation, held_out)):
        assert len(text.documents) == chosen.sum() + 1
        for start, number in zip(text.documents, np.flatnonzero(chosen), strict=False):
            assert found.tokenizer.decode(text.tokens[start + 1 : start + 60]).startswith(f" The {WORDS[number]} sat.")


def test_held_out_text_never_trains_the_tokenizer(tmp_path: Path, corpus: str) -> None:
    tokenizer = open_cache(_prepare(tmp_path / "caches", corpus)).tokenizer
    _, training, held_out = hold_out(DOCUMENTS, 0.25, seed=0)
    trained = [DOCUMENTS[number] for number in np.flatnonzero(training)]
    assert tokenizer.get_vocab() == make_tokenizer(300, training_pieces(trained, "en")).get_vocab()
    assert tokenizer.get_vocab() != make_tokenizer(300, training_pieces(DOCUMENTS, "en")).get_vocab()
    merged = {number for number, word in enumerate(WORDS) if "Ġ" + word in tokenizer.get_vocab()}
    assert merged
    assert not merged & set(np.flatnonzero(held_out))


def test_unigram_is_of_the_training_documents(tmp_path: Path, corpus: str) -> None:
    found = open_cache(_prepare(tmp_path / "caches", corpus))
    tokens = found.training.tokens
    counts = np.bincount(tokens, minlength=found.vocabulary.size)
    oracle = -np.log((counts + 1) / (len(tokens) + found.vocabulary.size))
    assert found.vocabulary.unigram == pytest.approx(oracle, abs=1e-12)


def test_text_is_pickled_by_its_path(tmp_path: Path, corpus: str) -> None:
    found = open_cache(_prepare(tmp_path / "caches", corpus))
    packed = pickle.dumps(found.training)
    assert len(packed) < 500 < found.training.tokens.nbytes
    again: TokenText = pickle.loads(packed)
    for name in ("tokens", "sentences", "paragraphs", "documents"):
        array = getattr(again, name)
        assert isinstance(array, np.memmap)
        assert not array.flags.writeable
        assert np.array_equal(array, getattr(found.training, name))
    assert pickle.loads(pickle.dumps(found)).vocabulary == found.vocabulary


@pytest.mark.parametrize("stage", ["hold_out", "make_tokenizer", "write_text"])
@pytest.mark.parametrize("folder", ["caches", "new/caches"])
def test_killed_run_leaves_nothing(
    tmp_path: Path, corpus: str, monkeypatch: pytest.MonkeyPatch, stage: str, folder: str
) -> None:
    (tmp_path / "caches").mkdir()

    def killed(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cache, stage, killed)
        _prepare(tmp_path / folder, corpus)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["caches", "corpus"]
    assert not list((tmp_path / "caches").iterdir())
    open_cache(_prepare(tmp_path / folder, corpus))


def test_of_two_at_the_same_time_the_first_wins(tmp_path: Path, corpus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write, made = cache.write_text, []

    def overtaken(*args: Any) -> np.ndarray:
        monkeypatch.setattr(cache, "write_text", write)
        made.append(_prepare(tmp_path / "caches", corpus))
        made.append((made[0] / "meta.json").stat().st_ino)
        return write(*args)

    monkeypatch.setattr(cache, "write_text", overtaken)
    path = _prepare(tmp_path / "caches", corpus)
    assert [path, (path / "meta.json").stat().st_ino] == made
    assert list((tmp_path / "caches").iterdir()) == [path]


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"validation_share": 0.5}, {"tokenizer": 301}, {"language": "de"}, {"text_field": "body"}],
)
def test_every_setting_names_another_cache(tmp_path: Path, corpus: str, change: dict[str, Any]) -> None:
    assert _prepare(tmp_path, corpus, **change) != _prepare(tmp_path, corpus)


def test_content_and_not_place_names_the_cache(tmp_path: Path, corpus: str) -> None:
    first = _prepare(tmp_path / "caches", corpus)
    moved = Path(corpus).rename(tmp_path / "moved")
    assert _prepare(tmp_path / "caches", str(moved)) == first
    (moved / "0.txt").write_text(DOCUMENTS[0] + " More.")
    assert _prepare(tmp_path / "caches", str(moved)) != first


def test_found_again_quickly_and_without_the_libraries_that_made_it(tmp_path: Path) -> None:
    prepare(tmp_path, tokenizer=300)
    code = f"""
import sys, time
from lm_objectives.data.cache import open_cache, prepare
start = time.perf_counter()
open_cache(prepare({str(tmp_path)!r}, tokenizer=300))
print(time.perf_counter() - start, *{{"datasets", "sentencex", "tokenizers", "transformers"}} & {{*sys.modules}})
"""
    seconds, *imported = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert float(seconds) < 0.2
    assert not imported


def test_corpus_of_one_document(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One. Two.\n\nThree.\n\nFour.")
    found = open_cache(_prepare(tmp_path / "caches", str(tmp_path / "a.txt")))
    decode = found.tokenizer.decode
    assert decode(found.training.tokens) == "[BOS] One. Two.\n\n Three.[EOS]"
    assert decode(found.validation.tokens) == "[BOS] Four.[EOS]"


def test_chinese(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("你好。我是人。\n\n再见。")
    found = open_cache(_prepare(tmp_path / "caches", str(tmp_path / "a.txt"), language="zh"))
    sentences = [found.tokenizer.decode(found.training.tokens[a:b]) for a, b in found.training.sentences]
    assert sentences == [" 你好。", " 我是人。"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"validation_share": 1.5}, "expected validation_share above 0 and below 1, found 1.5"),
        ({"tokenizer": 100}, "expected a vocabulary of at least 260 tokens"),
        ({"language": "english"}, "expected a language code"),
        ({"corpus": "gone.txt"}, "expected the path of a corpus, found nothing at gone.txt"),
        ({"tokenizer": "./gone"}, "expected a tokenizer's folder or its name on the hub, found nothing at ./gone"),
    ],
)
def test_bad_settings_leave_nothing(tmp_path: Path, corpus: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"^{message}"):
        _prepare(tmp_path / "new" / "caches", **{"corpus": corpus, **settings})
    assert not (tmp_path / "new").exists()


def test_folder_that_cannot_be_written(tmp_path: Path, corpus: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"^expected a folder that can be written, found .*file/caches \(.*\); choose"):
        _prepare(tmp_path / "file" / "caches", corpus)


def test_nothing_to_open(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^expected a token cache, found none at .*; make it with prepare"):
        open_cache(tmp_path)
