"""Where words begin, by the conventions of three kinds of tokenizers that are trained here."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from lm_objectives.data.tokenizer import make_tokenizer, vocabulary_of
from lm_objectives.data.words import breaks_line, starts_word, training_cost

TEXTS = [" The thinking cats' 12 things.", " 你好世界", " สวัสดี", " déjà vu", " カタカナ", " the (other) thing"] * 30
SPECIAL = ["[PAD]", "[BOS]", "[EOS]", "[MASK]", "[UNK]"]


def byte_level() -> Tokenizer:
    return make_tokenizer(400, TEXTS).backend_tokenizer


def word_piece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=120, special_tokens=SPECIAL))
    return tokenizer


def unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=SPECIAL, unk_token="[UNK]")
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def words_of(tokenizer: Tokenizer, text: str) -> str:
    """The tokens of a text, with a bar before each that begins a word."""
    special = {number for token, number in tokenizer.get_vocab().items() if token in SPECIAL}
    starts = starts_word(tokenizer, special, tokenizer.get_vocab_size())
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    shown = ["|" * bool(starts[number]) + tokenizer.decode([number]).removeprefix("##").strip() for number in ids]
    return "".join(shown)


@pytest.mark.parametrize("make", [byte_level, word_piece, unigram])
@pytest.mark.parametrize(
    ("text", "oracle"),
    [
        (" The thinking thing", "|The|thinking|thing"),
        (" cats' thing.", "|cats|'|thing|."),
        (" 12 the2", "|12|the2"),
        (" déjà vu", "|déjà|vu"),
    ],
)
def test_words_are_those_between_spaces_and_punctuation(make: object, text: str, oracle: str) -> None:
    tokenizer = make()  # type: ignore[operator]
    assert words_of(tokenizer, text) == oracle


@pytest.mark.parametrize("make", [byte_level, unigram])
def test_lines_end_in_a_break(make: object) -> None:
    tokenizer = make()  # type: ignore[operator]
    ids = tokenizer.encode("The\n\nthing\tthe cats", add_special_tokens=False).ids
    breaks = breaks_line(tokenizer, tokenizer.get_vocab_size())
    spelled = [tokenizer.decode([number]) for number in ids]
    assert [bool(breaks[number]) for number in ids] == [text.endswith(("\n", "\t")) for text in spelled]
    assert make is unigram or breaks[ids].sum() >= 2


def test_letters_after_punctuation_go_on_but_in_word_piece() -> None:
    """WordPiece alone marks what goes on; elsewhere a letter without a space before it does."""
    found = [words_of(make(), " (other)").replace("||", "|") for make in (byte_level, unigram, word_piece)]
    assert found == ["|(other|)", "|(other|)", "|(|other|)"]


@pytest.mark.parametrize("make", [byte_level, word_piece, unigram])
def test_scripts_without_spaces_begin_words_with_each_token(make: object) -> None:
    tokenizer = make()  # type: ignore[operator]
    starts = starts_word(tokenizer, set(), tokenizer.get_vocab_size())
    whole = [n for token, n in tokenizer.get_vocab().items() if tokenizer.decode([n]).strip("# ")[:1] in "你世好界カ"]
    assert len(whole) > 2
    assert starts[whole].all()


def test_single_bytes_and_named_tokens() -> None:
    tokenizer = make_tokenizer(400, TEXTS, ("<a>",))
    vocabulary = vocabulary_of(tokenizer, ("<a>",))
    ids = tokenizer.get_vocab()
    assert vocabulary.named_tokens == (("<a>", 4),)
    assert vocabulary.starts_word is not None
    oracle = {
        "[PAD]": True,
        "<a>": True,
        "Ġ": True,
        "Ċ": True,
        "a": False,
        "7": False,
        ".": True,
        "Ã": False,
        "©": False,
    }
    assert {token: bool(vocabulary.starts_word[ids[token]]) for token in oracle} == oracle


def test_bytes_that_a_vocabulary_falls_back_to() -> None:
    vocabulary = {token: n for n, token in enumerate(["<0xE4>", "<0x0A>", "<0x61>", "▁a", "a", "好", "▁"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True))
    assert starts_word(tokenizer, set(), 7).tolist() == [False, True, False, True, False, True, True]


def test_whole_words_all_begin_one_and_gaps_do_not() -> None:
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 2}, unk_token="a"))
    assert starts_word(tokenizer, set(), 3).tolist() == [True, False, True]


def test_phrases_cost_a_training_what_they_are_remembered_as() -> None:
    assert training_cost("two words") == 9
    assert training_cost("é 你好") == 4 + 2 * 63


def test_loaded_tokenizer_says_what_it_lacks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "lm_objectives")
    own = word_piece()
    PreTrainedTokenizerFast(tokenizer_object=own, unk_token="[UNK]", mask_token="[MASK]").save_pretrained(tmp_path)
    made = make_tokenizer(str(tmp_path), (), ("<extra_id_0>", "the"))
    assert caplog.messages == [f"the tokenizer {tmp_path} has no <extra_id_0>: added"]
    vocabulary = vocabulary_of(made, ("<extra_id_0>", "the"))
    named = dict(vocabulary.named_tokens)
    assert named == {"<extra_id_0>": own.get_vocab_size(), "the": own.get_vocab()["the"]}
    assert {*named.values()} < {*vocabulary.special}
