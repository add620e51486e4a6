"""Trained and loaded tokenizers: special tokens and round trips."""

import logging
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from lm_objectives.data.tokenizer import add_leading_space, load_tokenizer, make_tokenizer, vocabulary_of

PIECES = [" The cat sat.", " The dog sat.", "\n\n", " 你好。", " The cat ran; the dog ran."] * 20


def _word_level(folder: Path, unk_token: str = "[UNK]", **special: str) -> Path:
    """A small tokenizer of somebody else's, with the special tokens given."""
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys([*special.values(), unk_token, "a", "b"]))}
    model = Tokenizer(models.WordLevel(vocabulary, unk_token=unk_token))
    model.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=model, unk_token=unk_token, **special).save_pretrained(folder)
    return folder


def test_trained_one_is_the_bpe_of_the_tokenizers_library() -> None:
    oracle = Tokenizer(models.BPE())
    oracle.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["[PAD]", "[BOS]", "[EOS]", "[MASK]"]
    oracle.train_from_iterator(
        PIECES, trainers.BpeTrainer(vocab_size=280, special_tokens=special, initial_alphabet=alphabet)
    )
    made = make_tokenizer(280, PIECES)
    assert made.get_vocab() == oracle.get_vocab()
    assert made.convert_ids_to_tokens([0, 1, 2, 3]) == special


@pytest.mark.parametrize("text", [" The cat sat.", " 你好、world! \U0001f600", "\n\n", " a  b , c"])
def test_trained_one_gives_the_text_back(text: str) -> None:
    tokenizer = make_tokenizer(300, PIECES)
    led = text if text.startswith(" ") else f" {text}"
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == led


def test_trained_one_survives_saving(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(280, PIECES)
    tokenizer.save_pretrained(tmp_path)
    loaded = load_tokenizer(str(tmp_path))
    assert vocabulary_of(loaded) == vocabulary_of(tokenizer)
    assert loaded(PIECES)["input_ids"] == tokenizer(PIECES)["input_ids"]


def test_loaded_one_keeps_the_special_tokens_that_it_has(tmp_path: Path) -> None:
    folder = _word_level(tmp_path, pad_token="<pad>", bos_token="<s>", eos_token="</s>", mask_token="<mask>")
    vocabulary = vocabulary_of(make_tokenizer(str(folder), ()))
    assert (vocabulary.pad, vocabulary.bos, vocabulary.eos, vocabulary.mask) == (0, 1, 2, 3)
    assert vocabulary.size == 7
    assert vocabulary.special == (0, 1, 2, 3, 4)


def test_loaded_one_takes_cls_and_sep_for_bos_and_eos(tmp_path: Path) -> None:
    folder = _word_level(tmp_path, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]")
    tokenizer = make_tokenizer(str(folder), ())
    assert (tokenizer.bos_token, tokenizer.eos_token, len(tokenizer)) == ("[CLS]", "[SEP]", 7)


def test_loaded_one_gets_the_special_tokens_that_it_lacks(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(str(_word_level(tmp_path, eos_token="<end>")), ())
    assert tokenizer.convert_ids_to_tokens([4, 5, 6]) == ["[PAD]", "[BOS]", "[MASK]"]
    vocabulary = vocabulary_of(tokenizer)
    assert (vocabulary.pad, vocabulary.bos, vocabulary.eos, vocabulary.mask, vocabulary.size) == (4, 5, 0, 6, 7)


@pytest.mark.parametrize("size", [0, 259])
def test_vocabulary_too_small(size: int) -> None:
    message = rf"^expected a vocabulary of at least 260 tokens .*, found {size}: set tokenizer to 260 or more$"
    with pytest.raises(ValueError, match=message):
        make_tokenizer(size, PIECES)
    assert len(make_tokenizer(260, PIECES)) == 260


def test_a_vocabulary_that_the_text_does_not_fill_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "lm_objectives"):
        made = make_tokenizer(1000, PIECES)
        assert caplog.messages == [f"tokenizer: the text has pairs for {len(made)} of the 1000 tokens asked for"]
        caplog.clear()
        make_tokenizer(262, PIECES)
    assert caplog.messages == []


def test_nothing_to_load(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"^expected a tokenizer\.json in .*, found an empty folder: check the path, or"
    ):
        make_tokenizer(str(tmp_path), ())
    (tmp_path / "notes.md").write_text("something else")
    message = "^expected a tokenizer's folder or its name on the hub, found nothing loadable at .*: check the path"
    with pytest.raises(ValueError, match=message) as error:
        make_tokenizer(str(tmp_path), ())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["./gone", "/gone/tokenizer", "~/gone", "a/b/c", "here/gone"])
def test_path_is_not_asked_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"^expected a tokenizer's folder or .*, found nothing at {name}: check"):
        make_tokenizer(name, ())


@pytest.mark.parametrize("other", ["bos", "eos", "unk", "mask", "cls", "sep"])
def test_a_pad_that_is_another_token_too_gets_one_of_its_own(
    tmp_path: Path, other: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As in `tokenizer.pad_token = tokenizer.eos_token`."""
    special = {"bos_token": "<s>", "eos_token": "</s>", "mask_token": "<mask>", f"{other}_token": "<end>"}
    folder = _word_level(tmp_path, pad_token="<end>", **special)
    with caplog.at_level(logging.INFO, "lm_objectives"):
        tokenizer = make_tokenizer(str(folder), ())
    assert tokenizer.pad_token == "[PAD]"
    assert other in ("cls", "sep") or getattr(tokenizer, f"{other}_token") == "<end>"  # these are bos and eos here
    assert tokenizer.pad_token_id == len(tokenizer) - 1
    assert any("has no [PAD]: added" in message for message in caplog.messages)
    assert len({tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.mask_token_id}) == 4
    tokenizer.save_pretrained(tmp_path / "again")
    assert load_tokenizer(str(tmp_path / "again")).get_vocab() == tokenizer.get_vocab()


def test_a_tokenizer_without_words_is_not_led_in() -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.decoder = decoders.ByteLevel()
    add_leading_space(tokenizer)
    assert tokenizer.pre_tokenizer is None
