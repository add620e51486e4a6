"""Tokenizers in folders that lack something, or hold what would not load in bounded time and memory."""

import json
import os
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from utils.prepare_cases import DOCUMENTS, make, write

from lm_objectives.data import tokenizer_folders
from lm_objectives.data.cache import open_cache
from lm_objectives.data.tokenizer import load_tokenizer, make_tokenizer, save_tokenizer, vocabulary_of
from lm_objectives.data.tokenizer_folders import check_tokenizer
from lm_objectives.errors import InputError

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "the", "cat", "##s"]


def folder_of(model: Tokenizer, folder: Path, **special: str) -> str:
    PreTrainedTokenizerFast(tokenizer_object=model, **special).save_pretrained(folder)
    return str(folder)


def words(ids: dict[str, int], normalizer: Any = None) -> Tokenizer:
    model = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    model.pre_tokenizer = pre_tokenizers.Whitespace()
    return Tokenizer.from_str(json.dumps({**json.loads(model.to_str()), "normalizer": normalizer}))


@pytest.mark.parametrize(("more", "tokens"), [([], ["the", "cat", "##s", "."]), (["The"], ["The", "cat", "##s", "."])])
def test_a_word_list_is_berts(tmp_path: Path, more: list[str], tokens: list[str]) -> None:
    """In lower case where the list has no capitals."""
    (tmp_path / "vocab.txt").write_text("".join(f"{token}\r\n" for token in [*WORDS, *more]))
    tokenizer = load_tokenizer(str(tmp_path))
    assert tokenizer.tokenize("The cats.") == tokens
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.mask_token_id, len(tokenizer)) == (
        *(2, 3, 4),
        len(WORDS) + len(more),
    )


def test_two_files_are_gpt2s(tmp_path: Path) -> None:
    """Oracle: the tokenizer whose model they are."""
    oracle = make_tokenizer(400, DOCUMENTS)
    oracle.backend_tokenizer.model.save(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["merges.txt", "vocab.json"]
    text = "The zebra sat, and a quokka ran!"
    assert load_tokenizer(str(tmp_path)).tokenize(text) == oracle.tokenize(text)
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(ValueError, match=r"^expected merges.txt next to vocab.json in .*, found none: put the one"):
        load_tokenizer(str(tmp_path))


def sentencepiece_model(folder: Path) -> Path:
    from transformers.convert_slow_tokenizer import import_protobuf

    made = import_protobuf().ModelProto()
    for piece, kind in [("<unk>", 2), ("<s>", 3), ("</s>", 3), ("▁", 1), ("▁the", 1), ("a", 1), ("t", 1), ("c", 1)]:
        made.pieces.add(piece=piece, score=-1.0, type=kind)
    made.trainer_spec.unk_id = 0
    (folder / "spiece.model").write_bytes(made.SerializeToString())
    return folder


def test_a_sentencepiece_model_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = load_tokenizer(str(sentencepiece_model(tmp_path)))
    assert tokenizer.tokenize("the cat") == ["▁the", "▁", "c", "a", "t"]
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token) == ("<s>", "</s>", "<unk>")

    def lacks(*arguments: object) -> None:
        raise ImportError("requires the protobuf library")

    monkeypatch.setattr(import_module("transformers.convert_slow_tokenizer"), "requires_backends", lacks)
    told = (
        r"^expected tokenizer.json in .*, found spiece.model alone: pip install sentencepiece protobuf to read it, or"
    )
    with pytest.raises(ValueError, match=told):
        load_tokenizer(str(tmp_path))


def test_what_is_no_sentencepiece_model(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_text("IQ== 0\nIg== 1\n")
    with pytest.raises(
        ValueError, match=r"^expected a sentencepiece model at .*, found none \(.*: save it as"
    ) as error:
        load_tokenizer(str(tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["tokenizer.json", "spiece.model", ""])
def test_a_pipe_in_a_files_place_is_not_waited_for(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    place = folder / name if name else tmp_path / "pipe"
    os.mkfifo(place)
    with pytest.raises(
        ValueError, match=rf"^expected a tokenizer in regular files, found a pipe or device at {place}:"
    ):
        make(tmp_path / "caches", write(tmp_path / "corpus", DOCUMENTS), tokenizer=str(folder if name else place))
    assert not (tmp_path / "caches").exists()


@pytest.mark.parametrize(
    ("largest", "message"),
    [
        (2**23, r"^expected a tokenizer's ids below 4,194,304 at .*, found 8,388,608: number its tokens"),
        (2**20, r"^expected a tokenizer whose ids have few gaps at .*, found 1,048,574 without a token: number"),
    ],
)
def test_ids_that_are_large_for_nothing(tmp_path: Path, largest: int, message: str) -> None:
    name = folder_of(words({"[UNK]": 0, "a": 1, "b": largest}), tmp_path, unk_token="[UNK]")
    with pytest.raises(ValueError, match=message):
        load_tokenizer(name)


def replace(pattern: str, content: str) -> dict[str, object]:
    return {"type": "Replace", "pattern": {"String": pattern}, "content": content}


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([replace("a", "b" * 2000)], r"found one that puts in 2,000 characters: take the step out"),
        ([replace("é", "a" * 1000), replace("a", "b" * 1000)], r"found one that makes it [\d,]+ times as long: take"),
        (
            [{"type": "Replace", "pattern": {"Regex": "."}, "content": "b" * 100}] * 9,
            r"found one that makes it 100 times",
        ),
    ],
)
def test_a_normalizer_that_blows_text_up(tmp_path: Path, steps: list[dict[str, object]], message: str) -> None:
    plan = {"type": "Sequence", "normalizers": [*steps]}
    name = folder_of(words({"[UNK]": 0, "a": 1}, plan), tmp_path, unk_token="[UNK]")
    with pytest.raises(ValueError, match=rf"^expected a normalizer that makes a text at most 64 times .*{message}"):
        load_tokenizer(name)


def test_usual_normalizers_are_taken(tmp_path: Path) -> None:
    steps = [{"type": "NFKC"}, {"type": "Prepend", "prepend": "▁"}, replace(" ", "▁"), {"type": "Lowercase"}]
    steps += [replace(f"u{n}", f"[URL{n}]") for n in range(40)]
    plan = {"type": "Sequence", "normalizers": steps}
    assert load_tokenizer(folder_of(words({"[UNK]": 0, "a": 1}, plan), tmp_path, unk_token="[UNK]")).unk_token_id == 0


# Tokens of the user's.


def test_added_tokens_are_tokens_of_the_text(tmp_path: Path) -> None:
    """They come last; the cache of other ones is another."""
    save_tokenizer(make_tokenizer(300, DOCUMENTS), tmp_path / "tokenizer")
    corpus, name = write(tmp_path / "corpus", DOCUMENTS), str(tmp_path / "tokenizer")
    plain = open_cache(make(tmp_path / "caches", corpus, tokenizer=name))
    found = open_cache(make(tmp_path / "caches", corpus, tokenizer=name, add_tokens=["zebra", "quokka", "a"]))
    assert plain.folder != found.folder
    before, after = plain.tokenizer.get_vocab(), found.tokenizer.get_vocab()
    assert {token: after[token] for token in before} == before
    assert after.keys() - before.keys() == {"zebra", "quokka"}
    assert found.vocabulary.added == (after["a"], after["zebra"], after["quokka"])
    assert (found.vocabulary.size, found.vocabulary.special) == (plain.vocabulary.size + 2, plain.vocabulary.special)
    tokens = {*found.training.tokens.tolist(), *found.validation.tokens.tolist()}
    assert {after["zebra"], after["quokka"]} < tokens


@pytest.mark.parametrize(
    ("tokenizer", "added", "message"),
    [
        (300, ["zebra"], r"^expected a pretrained tokenizer that data.add_tokens can add to, found 300: a trained one"),
        ("here", ["zebra", " "], r"^expected data.add_tokens as a list of texts, found \['zebra', ' '\]: leave out"),
    ],
)
def test_what_cannot_be_added(tmp_path: Path, tokenizer: int | str, added: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tokenizer_folders.check_tokenizer(str(tmp_path) if tokenizer == "here" else tokenizer, (), added)


def test_added_ones_survive_what_was_added_before(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(300, DOCUMENTS)
    tokenizer.add_tokens([AddedToken("<code>")])
    save_tokenizer(tokenizer, tmp_path)
    made = make_tokenizer(str(tmp_path), (), ("<a>",), ("zebra", "<code>"))
    ids = made.get_vocab()
    assert vocabulary_of(made, ("<a>",), ("zebra", "<code>")).added == (ids["<code>"], ids["zebra"])
    assert isinstance(made.backend_tokenizer.decoder, decoders.ByteLevel)


@pytest.mark.parametrize("value", ["true", "null", "None", "1e300", ".inf", "-5", ""])
def test_a_value_of_another_kind_is_not_looked_for_on_the_hub(value: str) -> None:
    with pytest.raises(InputError, match=r"expected data.tokenizer as a number, a folder or a name on the hub"):
        check_tokenizer(value)
