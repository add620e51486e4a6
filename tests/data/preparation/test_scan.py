"""What is found in one pass: counts, an identity of the exact documents, and what is told."""

import json
from pathlib import Path

import pytest
from utils.prepare_cases import DOCUMENTS, write

from lm_objectives.data.preparation.corpus import find_corpora
from lm_objectives.data.preparation.plain_text import DocumentRule
from lm_objectives.data.preparation.readers import Documents
from lm_objectives.data.preparation.scan import CorpusScan, scan_corpora


def scan(folder: Path, *corpora: str | None, held_out: tuple[str, ...] = ()) -> CorpusScan:
    found = [found for name in (*corpora, *held_out) for found in find_corpora(name)]
    documents = Documents(found, "text", DocumentRule("file"))
    return scan_corpora(documents, len(corpora), 0.1, 0, folder / "keys", lambda number: None)


def lines(path: Path, texts: list[str]) -> str:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(path)


def test_what_it_was_for_corpora_that_are_not_few(tmp_path: Path) -> None:
    """Pinned: documents, their order and what is held out of the shipped corpus are what they have always been."""
    found = scan(tmp_path, None)
    assert (found.documents, found.identity, found.below) == (92, "ac5b12f238a99369", int(0.1 * 2**64))
    assert (found.cuts, found.notices) == ({}, [])


def test_identity_is_of_the_exact_documents_and_their_order(tmp_path: Path) -> None:
    """Property: a space, a letter's case, the order and where documents begin or are held out do change it."""
    variants = [
        ["One. Two.", "Three."],
        ["One.  Two.", "Three."],
        ["One. two.", "Three."],
        ["Three.", "One. Two."],
        ["One. ", "Two.Three."],
    ]
    found = [scan(tmp_path, lines(tmp_path / f"{n}.jsonl", texts)) for n, texts in enumerate(variants)]
    assert len({one.identity for one in found}) == 5
    assert (found[0].documents, found[0].training, found[0].cost) == (2, 2, 15)
    one, other = (lines(tmp_path / name, [text]) for name, text in (("a.jsonl", "One. Two."), ("b.jsonl", "Three.")))
    assert scan(tmp_path, one, other).identity == found[0].identity
    assert scan(tmp_path, one, held_out=(other,)).identity not in {
        found[0].identity,
        scan(tmp_path, other, one).identity,
    }


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A.\nB.\nC.")
    found = scan(tmp_path, str(tmp_path / "a.txt"))
    assert found.cuts
    found.write(tmp_path / "scan.json")
    assert CorpusScan.read(tmp_path / "scan.json") == found


def test_what_is_told(tmp_path: Path) -> None:
    (tmp_path / "few.txt").write_text("A.\nB.\nC.")
    many = write(tmp_path / "many", DOCUMENTS)
    assert scan(tmp_path, many).notices == []
    assert scan(tmp_path, many, str(tmp_path / "few.txt")).notices == [
        f"held out of {tmp_path}/few.txt: the end of 1 document, since it has fewer than 20; data.documents says what "
        "a document of plain text is"
    ]
    copies = lines(tmp_path / "own.jsonl", [DOCUMENTS[3].upper(), "Another one.", DOCUMENTS[0] + " More."])
    found = scan(tmp_path, many, held_out=(copies,))
    assert (found.documents, found.training, found.below, found.cuts) == (27, 24, 0, {})
    assert found.notices == [
        "held-out text that is trained on: 1 document of data.corpus in data.validation_corpus too"
    ]


@pytest.mark.parametrize(
    ("corpus", "held_out", "message"),
    [
        ("  \n", None, r"expected documents with text, found only empty ones in .*a.txt: check the corpus"),
        ("A.", "", r"expected documents with text, found only empty ones in .*b.txt: check the corpus"),
        ("A. B.", None, r"expected a corpus of two documents, two paragraphs or two lines, .* found 1: add text"),
    ],
)
def test_nothing_to_split(tmp_path: Path, corpus: str, held_out: str | None, message: str) -> None:
    (tmp_path / "a.txt").write_text(corpus)
    (tmp_path / "b.txt").write_text(held_out or "")
    own = () if held_out is None else (str(tmp_path / "b.txt"),)
    with pytest.raises(ValueError, match=f"^{message}"):
        scan(tmp_path, str(tmp_path / "a.txt"), held_out=own)
