"""Long lines, words and sentences are read in pieces, and text without any gives the tokens that it always gave."""

import json
import random
import time
import tracemalloc
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from utils.prepare_cases import DOCUMENTS, make

from lm_objectives.data import tokenizer as tokenizers_here
from lm_objectives.data.preparation import documents, encode
from lm_objectives.data.preparation.corpus import find_corpora
from lm_objectives.data.preparation.documents import DocumentPiece
from lm_objectives.data.preparation.encode import Encoder
from lm_objectives.data.preparation.few_documents import Cut, UnitCounts, cut_few
from lm_objectives.data.preparation.plain_text import DocumentRule
from lm_objectives.data.preparation.readers import Documents
from lm_objectives.data.tokenizer import LONGEST_WORD, make_tokenizer, vocabulary_of

PROSE = "\n\n".join(
    f"Dr. Who saw {number} foxes, e.g. here. They ran!\nA line.  Two  spaces. {'So on and on. ' * (number % 7)}"
    for number in range(400)
)
CHINESE = "".join(f"第{number}句话在这里结束。我们走吧！{number}只。" for number in range(1500))
CODE = "def f(x):\n    return x  # note\n\n\nclass A:\n\tdef g(self):\n\t\tpass\n" * 60


def digest(cache: Path) -> str:
    """Of all tokens, of where documents, paragraphs and sentences lie in them, and of the tokenizer."""
    found = blake2b(digest_size=8)
    for path in sorted(cache.rglob("*.npy")):
        found.update(path.read_bytes())
    found.update((cache / "tokenizer" / "tokenizer.json").read_bytes())
    return found.hexdigest()


@pytest.mark.parametrize(
    ("settings", "pinned"),
    [
        ({}, "a35e83d7e8a094d6"),
        ({"pairs": True}, "fee7605b8d7d23e8"),
        ({"documents": "blank-line"}, "894b046fc5dca510"),
        ({"documents": "line", "sentences": "line"}, "edb72f8bdcdfd09a"),
    ],
)
def test_text_without_such_lengths_gives_what_it_always_gave(
    tmp_path: Path, settings: dict[str, object], pinned: str
) -> None:
    """Oracle: digests that were taken before anything but documents was cut."""
    texts = [PROSE, PROSE.replace("\n", "\r\n"), CHINESE, CODE, "\n\n".join(DOCUMENTS)]
    (tmp_path / "corpus").mkdir()
    for number, text in enumerate(texts):
        (tmp_path / "corpus" / f"{number}.txt").write_bytes(text.encode())
    records = "".join(json.dumps({"text": text}) + "\n" for text in [*DOCUMENTS, *texts])
    (tmp_path / "corpus" / "records.jsonl").write_text(records)
    assert digest(make(tmp_path / "caches", str(tmp_path / "corpus"), tokenizer=500, **settings)) == pinned


@pytest.mark.parametrize("pairs", [False, True])
def test_tokens_of_a_long_sentence_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch, pairs: bool) -> None:
    """Oracle: the sentence in one piece, encoded alone too."""
    tokenizer = make_tokenizer(500, [PROSE])
    text = "One word follows the other without a stop " * 200 + "end. Next."
    found = []
    for longest in (2**16, 500):
        monkeypatch.setattr(encode, "_LONGEST", longest)
        made = Encoder(tokenizer.backend_tokenizer, vocabulary_of(tokenizer), "en", pairs)([DocumentPiece(text)])
        found.append([stream.arrays(500) for stream in (made.text, made.pairs) if stream is not None])
    for whole, cut in zip(*found, strict=True):
        assert all(np.array_equal(whole[name], cut[name]) for name in whole)


def test_long_words_are_cut_where_a_tokenizer_is_trained() -> None:
    """Oracle: a training on the words as they are cut; the trained tokenizer itself cuts nothing."""
    word = f" {''.join(random.Random(0).choices('abcd', k=5 * LONGEST_WORD))}"
    cut = [word[at : at + LONGEST_WORD] for at in range(0, len(word), LONGEST_WORD)]
    oracle = Tokenizer(models.BPE())
    oracle.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["[PAD]", "[BOS]", "[EOS]", "[MASK]"]
    oracle.train_from_iterator(
        cut, trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    )
    made = make_tokenizer(400, [word])
    assert made.get_vocab() == oracle.get_vocab()
    assert "FixedLength" not in made.backend_tokenizer.to_str()


def test_parts_of_a_text_train_what_the_whole_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    oracle = make_tokenizer(500, [PROSE, CHINESE, CODE]).get_vocab()
    monkeypatch.setattr(tokenizers_here, "_TRAINED_AT_ONCE", 200)
    assert make_tokenizer(500, [PROSE, CHINESE, CODE]).get_vocab() == oracle


def test_training_on_a_word_takes_time_in_proportion_to_its_length() -> None:
    """A word of a million letters took minutes, and a doubling four to five times as long."""
    word = "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz", k=2**20))
    began = time.monotonic()
    make_tokenizer(600, [word])
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(("between", "unit"), [("\n\n", "paragraphs"), ("\n", "lines")])
def test_pieces_have_as_many_paragraphs_as_their_document(
    monkeypatch: pytest.MonkeyPatch, end: str, between: str, unit: str
) -> None:
    """Oracle: the document in one piece. What is cut between pieces counts once, with LF and with CRLF."""
    text = between.join(f"Sentence {n} is here. Another {'one ' * (n % 9)}goes on." for n in range(300))
    text = text.replace("\n", end)
    whole = split(text)
    assert whole[0] == Cut(unit, 225)
    for most in (100, 101, 1000, 1024):
        monkeypatch.setattr(documents, "MAX_PIECE", most)
        assert split(text) == whole
    assert whole[1].rstrip() + end * len(between) + whole[2] == text


def split(text: str) -> tuple[Cut, str, str]:
    """Where a document is cut, and both sides."""
    units, pieces = UnitCounts(), [*documents.cut_document([text])]
    assert [*units.add(pieces)] == pieces
    (cut,) = units.cuts(0.25).values()
    sides = {False: "", True: ""}
    for held_out, piece in cut_few([(False, piece) for piece in pieces], {0: cut}):
        assert piece.begins is (not sides[held_out])
        sides[held_out] += piece.text
    return cut, sides[False], sides[True]


def test_a_document_that_begins_with_much_white_space_is_not_held_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_PIECE", 4)
    pieces = documents.cut_document(["\n" * 1000, "End."])
    assert "".join(piece.text for piece in documents.drop_empty_documents(pieces)) == "\n" * 4 + "End."


@pytest.mark.parametrize("name", ["a.jsonl", "line.txt", "blank-line.txt", "file.txt"])
def test_a_line_is_held_once(tmp_path: Path, name: str) -> None:
    """Of 32 MiB; a record is in memory as bytes and as text while it is read, and plain text never whole."""
    size = 2**25
    line = "word " * (size // 5)
    (tmp_path / name).write_text(json.dumps({"text": line}) + "\n" if name == "a.jsonl" else line + "\n")
    del line
    rule = DocumentRule("file" if name == "a.jsonl" else name.removesuffix(".txt"), ("<|endoftext|>",))
    pieces = iter(Documents(find_corpora(str(tmp_path / name)), "text", rule))
    tracemalloc.start()
    assert len(next(pieces).text) > 2**19
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < (1.3 * size if name == "a.jsonl" else size / 2)
    assert peak < (3.2 * size if name == "a.jsonl" else size / 2)
