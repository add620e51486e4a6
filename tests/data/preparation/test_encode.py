"""The stream of tokens against the text that it is, and its offsets against the sentences that they delimit."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast
from utils.text_cases import KINDS, split_document

from lm_objectives.data.preparation import encode as encoding
from lm_objectives.data.preparation.documents import DocumentPiece, cut_document
from lm_objectives.data.preparation.encode import EncodedDocuments, Encoder, TokenArrays
from lm_objectives.data.tokenizer import (
    add_leading_space,
    load_tokenizer,
    make_tokenizer,
    save_tokenizer,
    vocabulary_of,
)
from lm_objectives.views import Vocabulary

VOCABULARY = Vocabulary(size=10, pad=0, bos=1, eos=2, mask=3)
DOCUMENTS = ["One two. Three!\n\nFour [MASK] [EOS] five. 你好。好。", "Six.", "Seven.\n\nEight?\n\nNine."]
SOURCE = "\n\n".join(path.read_text(encoding="utf-8") for path in sorted(Path(encoding.__file__).parent.glob("*.py")))


def byte_level() -> PreTrainedTokenizerFast:
    return make_tokenizer(600, KINDS.values())


def word_piece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(KINDS.values(), trainers.WordPieceTrainer(vocab_size=800, special_tokens=["[UNK]"]))
    return tokenizer


def unigram() -> Tokenizer:
    """As T5's: NFKC, runs of white space made one, words behind `▁`."""
    tokenizer = Tokenizer(models.Unigram())
    collapsed = normalizers.Replace(Regex(r"\s+"), " ")
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), collapsed])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=500, special_tokens=["<unk>"], unk_token="<unk>")
    tokenizer.train_from_iterator(KINDS.values(), trainer)
    return tokenizer


def sentence_piece() -> Tokenizer:
    """As Llama's: every text behind `▁`, spaces made `▁`; no token goes beyond a word, though nothing divides words."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(content=" ", left=1)]
    )
    alphabet = sorted({letter for text in KINDS.values() for letter in text} | {"▁"})
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=["<unk>"], initial_alphabet=alphabet)
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    tokenizer.train_from_iterator(KINDS.values(), trainer)
    return Tokenizer.from_str(json.dumps({**json.loads(tokenizer.to_str()), "pre_tokenizer": None}))


def loaded(model: Tokenizer, folder: Path) -> PreTrainedTokenizerFast:
    save_tokenizer(PreTrainedTokenizerFast(tokenizer_object=model), folder)
    return load_tokenizer(str(folder))


def read(tokenizer: PreTrainedTokenizerFast, *parts: str) -> EncodedDocuments:
    """A document in parts."""
    encode = Encoder(tokenizer.backend_tokenizer, vocabulary_of(tokenizer), "en", pairs=True)
    last = len(parts) - 1
    return encode(DocumentPiece(part, number == 0, number == last) for number, part in enumerate(parts))


def inner(made: EncodedDocuments) -> list[int]:
    return made.text.arrays(2**20)["tokens"].tolist()[1:-1]


@pytest.mark.parametrize("kind", KINDS)
def test_decoded_byte_level_tokens_are_the_document(kind: str) -> None:
    text = KINDS[kind]
    tokenizer = byte_level()
    decoded = tokenizer.decode(inner(read(tokenizer, text)))
    assert decoded == (text if text.startswith(" ") else f" {text}")


def test_decoded_module_is_the_module() -> None:
    """Every indented line survives, and Python still reads it."""
    tokenizer = byte_level()
    decoded = tokenizer.decode(inner(read(tokenizer, SOURCE)))
    assert decoded == f" {SOURCE}"
    compile(decoded[1:], "decoded", "exec")


@pytest.mark.parametrize("kind", KINDS)
def test_others_give_the_document_up_to_their_normalizer(kind: str, tmp_path: Path) -> None:
    """Oracle: the normalizer of each, applied to the text alone."""
    text = KINDS[kind]
    for name, model in {"unigram": unigram(), "sentencepiece": sentence_piece(), "wordpiece": word_piece()}.items():
        tokenizer = loaded(model, tmp_path / name)
        normalized = model.normalizer.normalize_str(text)
        decoded = tokenizer.decode(inner(read(tokenizer, text)))
        if name == "wordpiece":  # its decoder puts spaces between words
            assert "".join(decoded.split()) == "".join(normalized.split())
        elif name == "unigram":
            assert decoded == normalized.removeprefix(" ")
        else:
            assert decoded == text


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_reads_what_training_reads(kind: str, tmp_path: Path) -> None:
    """Oracle: the tokenizer as transformers calls it, with special tokens in the text read as text."""
    text = KINDS[kind]
    models_by_name = {"unigram": unigram(), "sentencepiece": sentence_piece(), "wordpiece": word_piece()}
    for tokenizer in [byte_level(), *(loaded(model, tmp_path / name) for name, model in models_by_name.items())]:
        expected = tokenizer(text, split_special_tokens=True)["input_ids"]
        assert read(tokenizer, text).text.arrays(2**20)["tokens"].tolist() == expected


@pytest.mark.parametrize("longest", [600, 1500])
def test_tokens_do_not_depend_on_where_long_documents_are_cut(
    longest: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Oracle: the document in one piece. Prose, source code and Chinese, cut for reading and again for encoding."""
    prose = " ".join(f"Word {number} follows, and goes on." for number in range(300))
    chinese = "".join(f"第{number}句话在这里结束。我们走吧。" for number in range(600))
    for text in (prose, SOURCE[:20_000], chinese):
        for tokenizer in (byte_level(), loaded(sentence_piece(), tmp_path), loaded(unigram(), tmp_path / "unigram")):
            whole = inner(read(tokenizer, text))
            monkeypatch.setattr(encoding, "_LONGEST", longest)
            monkeypatch.setattr("lm_objectives.data.preparation.documents.MAX_PIECE", 3 * longest)
            pieces = [piece.text for piece in cut_document([text])]
            assert len(pieces) > 2 and "".join(pieces) == text
            assert inner(read(tokenizer, *pieces)) == whole
            monkeypatch.undo()


def test_sentences_are_where_they_stand_in_the_text() -> None:
    """Oracle: the sentences of the text. Each begins with the space that divides it from the one before.

    Tokens of one byte, none of which lies in two sentences.
    """
    tokenizer = make_tokenizer(260, ())
    for text in [*DOCUMENTS, *KINDS.values()]:
        found = read(tokenizer, text).text.arrays(2**20)
        decoded = [tokenizer.decode(found["tokens"][start:stop]) for start, stop in found["sentences"]]
        paragraphs = split_document(text, "en")
        assert [sentence.strip().replace("\r\n", "\n") for sentence in decoded] == [s for p in paragraphs for s in p]
        assert found["paragraphs"].tolist() == np.cumsum([0, *map(len, paragraphs)]).tolist()[:-1]
        bounds = {int(number) for number in found["paragraphs"]}
        for number, ((_, stop), (start, _)) in enumerate(pairwise(found["sentences"]), 1):
            assert stop == start or number in bounds


def test_sentences_of_pairs_are_encoded_alone() -> None:
    """Oracle: each sentence behind one space, whatever stood in front of it; paragraphs divided by a blank line."""
    tokenizer = byte_level()
    for document in DOCUMENTS:
        made = read(tokenizer, document)
        assert made.pairs is not None
        found = made.pairs.arrays(600)
        paragraphs = split_document(document, "en")
        decoded = [tokenizer.decode(found["tokens"][start:stop]) for start, stop in found["sentences"]]
        assert decoded == [f" {sentence}" for paragraph in paragraphs for sentence in paragraph]
        assert found["paragraphs"].tolist() == np.cumsum([0, *map(len, paragraphs)]).tolist()[:-1]
        texts = ["".join(f" {sentence}" for sentence in paragraph) for paragraph in paragraphs]
        assert tokenizer.decode(found["tokens"][1:-1]) == "\n\n".join(texts)


def test_documents_are_bos_text_eos() -> None:
    tokenizer = byte_level()
    vocabulary = vocabulary_of(tokenizer)
    encode = Encoder(tokenizer.backend_tokenizer, vocabulary, "en")
    made = encode(DocumentPiece(document) for document in DOCUMENTS)
    assert made.pairs is None
    text = made.text.arrays(600)
    bounds = [*text["documents"], len(text["tokens"])]
    for (start, stop), document in zip(pairwise(bounds), DOCUMENTS, strict=True):
        assert (text["tokens"][start], text["tokens"][stop - 1]) == (vocabulary.bos, vocabulary.eos)
        assert tokenizer.decode(text["tokens"][start + 1 : stop - 1]) == f" {document}"
    assert np.isin(text["tokens"], vocabulary.special).sum() == 2 * len(DOCUMENTS)


def test_what_is_counted() -> None:
    tokenizer = make_tokenizer(260, ())
    encode = Encoder(tokenizer.backend_tokenizer, vocabulary_of(tokenizer), "en")
    made = encode(map(DocumentPiece, [*DOCUMENTS, ""]))
    assert made.counts["words"] == sum(len(document.split()) for document in DOCUMENTS)
    assert made.counts["characters"] == sum(map(len, DOCUMENTS))
    assert made.counts["bytes"] == len("".join(DOCUMENTS).encode())
    assert made.counts["without_tokens"] == 1
    assert len(made.text.documents) == len(DOCUMENTS)


def test_unknown_is_what_the_model_does_not_know(tmp_path: Path) -> None:
    """By hand. Transformers calls GPT-2's end of text its unknown token, and a bare `tokenizer.json` none."""
    known = Tokenizer(models.WordLevel({"[UNK]": 0, "One": 1, ".": 2}, unk_token="[UNK]"))
    known.pre_tokenizer = pre_tokenizers.Whitespace()
    assert read(loaded(known, tmp_path / "words"), "One. Two. 三. One.").counts["unknown"] == 2
    bytes_ = Tokenizer(models.BPE({letter: n for n, letter in enumerate(pre_tokenizers.ByteLevel.alphabet())}, []))
    bytes_.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    end = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    PreTrainedTokenizerFast(tokenizer_object=bytes_, **end).save_pretrained(tmp_path / "bytes")
    assert read(load_tokenizer(str(tmp_path / "bytes")), "Plain ASCII.").counts["unknown"] == 0


def test_added_tokens_that_are_not_special_are_tokens_of_the_text(tmp_path: Path) -> None:
    """As the runs of spaces of some code tokenizers. Oracle: the document, and its sentences."""
    tokenizer = byte_level()
    tokenizer.add_tokens([AddedToken("        ", normalized=False)])
    save_tokenizer(tokenizer, tmp_path)
    again, text = load_tokenizer(str(tmp_path)), "One line:\n\n        return 1. Two."
    made = read(again, text).text.arrays(2**20)
    assert again.convert_tokens_to_ids("        ") in made["tokens"]
    assert again.decode(made["tokens"][1:-1]) == f" {text}"
    assert [again.decode(made["tokens"][a:b]).strip() for a, b in made["sentences"]] == [
        "One line:",
        "return 1.",
        "Two.",
    ]


def test_what_is_left_out_is_not_counted(tmp_path: Path) -> None:
    """A document that the normalizer empties has no bytes that anything could be predicted of."""
    model = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    model.normalizer, model.pre_tokenizer = normalizers.Replace("x", ""), pre_tokenizers.Whitespace()
    tokenizer = loaded(model, tmp_path)
    made = Encoder(tokenizer.backend_tokenizer, vocabulary_of(tokenizer), "en")(
        [DocumentPiece("a a"), DocumentPiece("x" * 100)]
    )
    names = ("bytes", "characters", "words", "without_tokens")
    assert [made.counts[name] for name in names] == [3, 3, 2, 1]


def test_types_are_as_narrow_as_the_vocabulary_allows() -> None:
    for size, dtype in ((2**16, "uint16"), (2**16 + 1, "uint32")):
        layout = TokenArrays()
        layout.add(np.array([5]), np.array([[0, 1]]), np.array([0]), DocumentPiece("x"), VOCABULARY)
        found = layout.arrays(size)
        assert found["tokens"].dtype == dtype
        assert {found[name].dtype.name for name in ("sentences", "paragraphs", "documents")} == {"int64"}


def test_tokenizer_of_few_letters_needs_not_know_others() -> None:
    letters = {letter: number for number, letter in enumerate("ACGTN ")}
    tokenizer = Tokenizer(models.BPE(letters, []))
    assert tokenizer.encode("x").tokens == []
    made = Encoder(tokenizer, VOCABULARY, "en")([DocumentPiece("GATTACA")])
    assert made.text.arrays(10)["tokens"].tolist() == [1, 2, 0, 3, 3, 0, 1, 0, 2]


def test_unknown_word_without_a_token_for_it_is_one_clear_line() -> None:
    tokenizer = Tokenizer(models.WordLevel({"One": 0, ".": 1}))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    encode = Encoder(tokenizer, VOCABULARY, "en")
    assert encode([DocumentPiece("One.")]).text.arrays(10)["tokens"].tolist() == [1, 0, 1, 2]
    told = r"^expected a tokenizer with a token for words .*, found none \(.*\): give it an unk_token, or choose"
    with pytest.raises(ValueError, match=told) as error:
        encode([DocumentPiece("Two.")])
    assert "\n" not in str(error.value)


def test_lead_leaves_alone_what_follows_a_special_token(tmp_path: Path) -> None:
    """A masked text is read as the text whose word is masked: only the first word is led in, and that once."""
    tokenizer = byte_level()
    add_leading_space(tokenizer.backend_tokenizer)
    save_tokenizer(tokenizer, tmp_path)
    mask = tokenizer.mask_token_id
    for again in (tokenizer, load_tokenizer(str(tmp_path))):
        ids = again("Nobody [MASK] it, [MASK].")["input_ids"]
        cut = [0, *(place for place, token in enumerate(ids) if token == mask), len(ids)]
        assert [again.decode(ids[a + 1 : b]) for a, b in pairwise(cut)] == [" Nobody", " it,", ".[EOS]"]
