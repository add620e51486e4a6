"""The stream of tokens against a literal example, and its offsets against the text they delimit."""

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers
from transformers import PreTrainedTokenizerFast

from lm_objectives.corruption.base import Vocabulary
from lm_objectives.data.encoding import Layout, lay_out, training_pieces, write_text
from lm_objectives.data.sentences import split_document
from lm_objectives.data.tokenizer import make_tokenizer, vocabulary_of

VOCABULARY = Vocabulary(size=10, pad=0, bos=1, eos=2, mask=3)
DOCUMENTS = ["One two. Three!\n\nFour [MASK] [EOS] five. 你好。好。", "Six.", "Seven.\n\nEight?\n\nNine."]


def test_literal_example() -> None:
    oracle = Layout([1, 5, 6, 7, 9, 8, 2], [(1, 3), (3, 4), (5, 6)], [0, 2])
    assert lay_out([[[5, 6], [7]], [[8]]], VOCABULARY, [9]) == oracle
    assert lay_out([[[]], [[5, 6], [], [7]], [[], []], [[8]]], VOCABULARY, [9]) == oracle


def test_without_tokens_there_is_no_document() -> None:
    assert lay_out([[[]]], VOCABULARY, [9]) == Layout([], [], [])
    assert lay_out([], VOCABULARY, [9]) == Layout([], [], [])


def test_training_reads_what_encoding_reads() -> None:
    assert list(training_pieces(["One. Two.\n\nThree.", "Four."], "en")) == [
        " One.",
        " Two.",
        "\n\n",
        " Three.",
        " Four.",
    ]


@pytest.fixture(params=[1, 3, 16_384])
def arrays(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[PreTrainedTokenizerFast, dict[str, np.ndarray], np.ndarray]:
    monkeypatch.setattr("lm_objectives.data.encoding._SENTENCES_AT_ONCE", request.param)
    tokenizer = make_tokenizer(300, training_pieces(DOCUMENTS, "en"))
    counts = write_text(DOCUMENTS, "en", tokenizer, vocabulary_of(tokenizer, None), tmp_path / "text")
    return tokenizer, {file.stem: np.load(file) for file in (tmp_path / "text").iterdir()}, counts


def test_offsets_delimit_the_sentences(arrays: tuple) -> None:
    tokenizer, text, _ = arrays
    paragraphs = [paragraph for document in DOCUMENTS for paragraph in split_document(document, "en")]
    decoded = [tokenizer.decode(text["tokens"][start:stop]) for start, stop in text["sentences"]]
    assert decoded == [" " + sentence for paragraph in paragraphs for sentence in paragraph]
    assert text["paragraphs"].tolist() == np.cumsum([0, *map(len, paragraphs)]).tolist()


def test_documents_are_bos_sentences_eos(arrays: tuple) -> None:
    tokenizer, text, _ = arrays
    vocabulary = vocabulary_of(tokenizer, None)
    bounds = text["documents"]
    assert (len(bounds), bounds[0], bounds[-1]) == (len(DOCUMENTS) + 1, 0, len(text["tokens"]))
    for start, stop, document in zip(bounds, bounds[1:], DOCUMENTS, strict=False):
        assert (text["tokens"][start], text["tokens"][stop - 1]) == (vocabulary.bos, vocabulary.eos)
        paragraphs = ["".join(" " + s for s in p) for p in split_document(document, "en")]
        assert tokenizer.decode(text["tokens"][start + 1 : stop - 1]) == "\n\n".join(paragraphs)


def test_special_tokens_come_from_the_layout_alone(arrays: tuple) -> None:
    tokenizer, text, _ = arrays
    vocabulary = vocabulary_of(tokenizer, None)
    special = np.isin(text["tokens"], vocabulary.special)
    assert special.sum() == 2 * len(DOCUMENTS)
    inside = np.concatenate([text["tokens"][start:stop] for start, stop in text["sentences"]])
    assert not np.isin(inside, vocabulary.special).any()


def test_counts_are_of_the_stream(arrays: tuple) -> None:
    tokenizer, text, counts = arrays
    assert counts.tolist() == [int((text["tokens"] == token).sum()) for token in range(len(tokenizer))]


def test_types_are_as_narrow_as_the_vocabulary_allows(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(260, ())
    for size, dtype in ((2**16, "uint16"), (2**16 + 1, "uint32")):
        vocabulary = Vocabulary(size=size, pad=0, bos=1, eos=2, mask=3)
        write_text(DOCUMENTS, "en", tokenizer, vocabulary, tmp_path / dtype)
        text = {file.stem: np.load(file) for file in (tmp_path / dtype).iterdir()}
        assert text["tokens"].dtype == dtype
        assert {text[name].dtype.name for name in ("sentences", "paragraphs", "documents")} == {"int64"}


def test_tokenizer_that_leads_texts_in_itself_gets_no_second_space(tmp_path: Path) -> None:
    words = ["[PAD]", "[BOS]", "[EOS]", "[MASK]", "[UNK]", "▁x", "▁One.", "▁Two."]
    model = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    # As in Llama's: every text is led in, also one that begins with a space.
    model.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=model, unk_token="[UNK]")
    write_text(["One. Two."], "en", tokenizer, VOCABULARY, tmp_path / "text")
    assert np.load(tmp_path / "text" / "tokens.npy").tolist() == [1, 6, 7, 2]
