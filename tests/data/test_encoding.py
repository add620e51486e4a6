"""The stream of tokens against a literal example, and its offsets against the text they delimit."""

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from lm_objectives.corruption.base import Vocabulary
from lm_objectives.data.encoding import Encoder, Layout, Part, lay_out, training_pieces
from lm_objectives.data.sentences import split_document
from lm_objectives.data.tokenizer import make_tokenizer, vocabulary_of

VOCABULARY = Vocabulary(size=10, pad=0, bos=1, eos=2, mask=3)
DOCUMENTS = ["One two. Three!\n\nFour [MASK] [EOS] five. 你好。好。", "Six.", "Seven.\n\nEight?\n\nNine."]


PARAGRAPHS = [[[5, 6], [7]], [[8]]]


def test_literal_example() -> None:
    oracle = Layout([1, 5, 6, 7, 9, 8, 2], [(1, 3), (3, 4), (5, 6)], [0, 2], [0])
    for paragraphs in (PARAGRAPHS, [[[]], [[5, 6], [], [7]], [[], []], [[8]]]):
        layout = Layout()
        lay_out(layout, paragraphs, VOCABULARY, [9])
        assert layout == oracle


def test_parts_of_a_document_are_the_document() -> None:
    whole, parts = Layout(), Layout()
    for paragraphs in (PARAGRAPHS, [[[4]]]):
        lay_out(whole, paragraphs, VOCABULARY, [9])
    lay_out(parts, PARAGRAPHS[:1], VOCABULARY, [9], ends=False)
    lay_out(parts, [[[]]], VOCABULARY, [9], begins=False, ends=False)
    lay_out(parts, PARAGRAPHS[1:], VOCABULARY, [9], begins=False)
    lay_out(parts, [[[4]]], VOCABULARY, [9])
    assert parts == whole


def test_without_tokens_there_is_no_document() -> None:
    layout = Layout()
    for paragraphs in ([[[]]], []):
        lay_out(layout, paragraphs, VOCABULARY, [9])
    assert layout == Layout(without_tokens=2)


def test_training_reads_what_encoding_reads() -> None:
    assert list(training_pieces(["One. Two.\n\nThree.", "Four."], "en")) == [
        " One.",
        " Two.",
        "\n\n",
        " Three.",
        " Four.",
    ]


@pytest.fixture(params=[1, 3, 1024])
def arrays(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> tuple[PreTrainedTokenizerFast, dict[str, np.ndarray]]:
    monkeypatch.setattr("lm_objectives.data.encoding._SENTENCES_AT_ONCE", request.param)
    tokenizer = make_tokenizer(300, training_pieces(DOCUMENTS, "en"))
    encode = Encoder(tokenizer.backend_tokenizer, vocabulary_of(tokenizer), "en")
    return tokenizer, encode(Part(document) for document in DOCUMENTS).arrays(300)


def test_offsets_delimit_the_sentences(arrays: tuple) -> None:
    tokenizer, text = arrays
    paragraphs = [paragraph for document in DOCUMENTS for paragraph in split_document(document, "en")]
    decoded = [tokenizer.decode(text["tokens"][start:stop]) for start, stop in text["sentences"]]
    assert decoded == [" " + sentence for paragraph in paragraphs for sentence in paragraph]
    assert text["paragraphs"].tolist() == np.cumsum([0, *map(len, paragraphs)]).tolist()[:-1]


def test_documents_are_bos_sentences_eos(arrays: tuple) -> None:
    tokenizer, text = arrays
    vocabulary = vocabulary_of(tokenizer)
    bounds = [*text["documents"], len(text["tokens"])]
    for start, stop, document in zip(bounds[:-1], bounds[1:], DOCUMENTS, strict=True):
        assert (text["tokens"][start], text["tokens"][stop - 1]) == (vocabulary.bos, vocabulary.eos)
        paragraphs = ["".join(" " + s for s in p) for p in split_document(document, "en")]
        assert tokenizer.decode(text["tokens"][start + 1 : stop - 1]) == "\n\n".join(paragraphs)


def test_special_tokens_come_from_the_layout_alone(arrays: tuple) -> None:
    tokenizer, text = arrays
    vocabulary = vocabulary_of(tokenizer)
    special = np.isin(text["tokens"], vocabulary.special)
    assert special.sum() == 2 * len(DOCUMENTS)
    inside = np.concatenate([text["tokens"][start:stop] for start, stop in text["sentences"]])
    assert not np.isin(inside, vocabulary.special).any()


def test_what_is_counted() -> None:
    tokenizer = make_tokenizer(260, ())
    layout = Encoder(tokenizer.backend_tokenizer, vocabulary_of(tokenizer), "en")(map(Part, [*DOCUMENTS, " "]))
    assert layout.words == sum(len(document.split()) for document in DOCUMENTS)
    assert layout.characters == sum(map(len, DOCUMENTS)) + 1
    assert layout.without_tokens == 1


def test_same_tokens_as_transformers() -> None:
    """Oracle: the tokenizer as its own library calls it, with special tokens in the text read as text."""
    texts = [" One two [MASK]. Three! [EOS] [PAD]", " 你好 \U0001f600 é", "\n\n", " a  b\tc"]
    tokenizer = make_tokenizer(300, texts * 3)
    tokenizer.backend_tokenizer.enable_truncation(3)
    tokenizer.backend_tokenizer.enable_padding(length=9)
    encode = Encoder(tokenizer.backend_tokenizer, vocabulary_of(tokenizer), "en")
    oracle = tokenizer(texts, add_special_tokens=False, split_special_tokens=True, truncation=False, padding=False)
    assert list(encode._encode(texts)) == oracle["input_ids"]


def test_types_are_as_narrow_as_the_vocabulary_allows() -> None:
    for size, dtype in ((2**16, "uint16"), (2**16 + 1, "uint32")):
        found = Layout([1, 2], [(0, 2)], [0], [0]).arrays(size)
        assert found["tokens"].dtype == dtype
        assert {found[name].dtype.name for name in ("sentences", "paragraphs", "documents")} == {"int64"}


def test_tokenizer_of_few_letters_needs_not_know_others() -> None:
    letters = {letter: number for number, letter in enumerate("ACGTN ")}
    tokenizer = Tokenizer(models.BPE(letters, []))
    assert tokenizer.encode("x").tokens == []
    assert Encoder(tokenizer, VOCABULARY, "en")([Part("GATTACA")]).tokens == [1, 5, 2, 0, 3, 3, 0, 1, 0, 2]


def test_unknown_word_without_a_token_for_it_is_one_clear_line() -> None:
    tokenizer = Tokenizer(models.WordLevel({"One": 0, ".": 1}))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    encode = Encoder(tokenizer, VOCABULARY, "en")
    assert encode([Part("One.")]).tokens == [1, 0, 1, 2]
    told = r"^expected a tokenizer with a token for words .*, found none \(.*\); give it an unk_token, or choose"
    with pytest.raises(ValueError, match=told) as error:
        encode([Part("Two.")])
    assert "\n" not in str(error.value)


def test_tokenizer_that_leads_texts_in_itself_gets_no_second_space() -> None:
    words = ["[PAD]", "[BOS]", "[EOS]", "[MASK]", "[UNK]", "▁x", "▁One.", "▁Two."]
    model = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    # As in Llama's: every text is led in, also one that begins with a space.
    model.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=model, unk_token="[UNK]")
    assert Encoder(tokenizer.backend_tokenizer, VOCABULARY, "en")([Part("One. Two.")]).tokens == [1, 6, 7, 2]
