"""Of each document of a corpus with few the end is held out, and the text stays as it is but for the cut."""

from pathlib import Path

import pytest
from utils.prepare_cases import make, texts

from lm_objectives.data.cache import open_cache
from lm_objectives.data.preparation.documents import DocumentPiece
from lm_objectives.data.preparation.few_documents import FEW_DOCUMENTS, Cut, UnitCounts, cut_few


def counted(pieces: list[DocumentPiece], share: float = 0.25) -> dict[int, Cut]:
    units = UnitCounts()
    assert list(units.add(pieces)) == pieces
    return units.cuts(share)


@pytest.mark.parametrize(
    ("text", "share", "oracle"),
    [
        ("A.\n\nB.\n\nC.\n\nD.", 0.25, Cut("paragraphs", 3)),
        ("A.\n\nB.\n\nC.\n\nD.", 0.01, Cut("paragraphs", 3)),
        ("A.\n\nB.\n\nC.\n\nD.", 0.99, Cut("paragraphs", 1)),
        ("A.\nB.\n\nC.\nD.", 0.25, Cut("paragraphs", 1)),
        ("A.\nB.\nC.\n", 0.25, Cut("lines", 2)),
        ("A.\r\nB.", 0.25, Cut("lines", 1)),
        ("A. B. C.\n\n", 0.25, None),
    ],
)
def test_where_a_document_is_cut(text: str, share: float, oracle: Cut | None) -> None:
    assert counted([DocumentPiece(text)], share) == ({} if oracle is None else {0: oracle})


@pytest.mark.parametrize(("documents", "cut"), [(1, True), (FEW_DOCUMENTS - 1, True), (FEW_DOCUMENTS, False)])
def test_each_corpus_has_few_or_many(documents: int, cut: bool) -> None:
    many = [DocumentPiece("A.\n\nB.")] * 50
    few = [DocumentPiece("A.\n\nB.", corpus=1)] * documents
    oracle = {50 + number: Cut("paragraphs", 1) for number in range(documents)} if cut else {}
    assert counted([*many, *few]) == oracle


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("between", ["\n \n", "\n"])
def test_text_stays_but_for_the_white_space_at_the_cut(whole: bool, between: str) -> None:
    unit = "lines" if between == "\n" else "paragraphs"
    parts = [f"A.{between}", f"B.{between}C.", f"{between}D."]
    pieces = [DocumentPiece("".join(parts))] if whole else [DocumentPiece(p, n == 0) for n, p in enumerate(parts)]
    other = DocumentPiece("E.")
    for cut in (1, 2, 3):
        found = [*cut_few([(True, other), *((False, piece) for piece in pieces), (False, other)], {1: Cut(unit, cut)})]
        assert (found[0], found[-1]) == ((True, other), (False, other))
        sides: dict[bool, str] = {False: "", True: ""}
        for held_out, piece in found[1:-1]:
            assert piece.begins is (not sides[held_out])
            sides[held_out] += piece.text
        letters = ["A.", "B.", "C.", "D."]
        oracle = [between.join(letters[:cut]), between.join(letters[cut:])]
        assert [sides[False].strip(), sides[True].strip()] == oracle


def _domain(word: str, lines: int, between: str) -> str:
    return between.join(f"The {word} said {number}." for number in range(lines))


def test_text_is_held_out_of_each_domain_and_of_each_corpus(tmp_path: Path) -> None:
    """As of BabyLM: one file a domain, with a line a sentence; oracle: the last tenth of the lines of each."""
    names = ["childes", "gutenberg", "wiki", "talks"]
    (tmp_path / "domains").mkdir()
    for name in names[:2]:
        (tmp_path / "domains" / f"{name}.txt").write_text(_domain(name, 20, "\n"))
    (tmp_path / "wiki.txt").write_text(_domain("wiki", 30, "\n\n"))
    (tmp_path / "talks.txt").write_text("\n\n".join(_domain(f"talks {n}", 2, "\n") for n in range(40)))
    corpora = [str(tmp_path / name) for name in ("domains", "wiki.txt", "talks.txt")]
    found = open_cache(make(tmp_path / "caches", corpora, validation_share=0.1))
    training, held_out = (texts(found, split) for split in (found.training, found.validation))
    assert [text.strip() for text in held_out[:3]] == [
        *(f"The {name} said 18.\nThe {name} said 19." for name in names[:2]),
        "\n\n".join(f"The wiki said {number}." for number in (27, 28, 29)),
    ]
    assert len(training) == len(held_out) == 4
    for split in (found.training, found.validation):
        assert len(split.corpora) == 4 and min(split.corpora[1:] - split.corpora[:-1]) > 0
