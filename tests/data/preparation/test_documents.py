"""Long documents are cut between sentences and words, and documents without text are left out."""

import pytest

from lm_objectives.data.preparation import documents as pieces
from lm_objectives.data.preparation.documents import DocumentPiece, cut_document, drop_empty_documents


def test_where_documents_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last quarter of a piece decides: a sentence's end, a word's, white space, or the middle of a word."""
    monkeypatch.setattr(pieces, "MAX_PIECE", 12)
    cases = {
        "One it is. Two it is.": ["One it is.", " Two it is."],
        "One and two three": ["One and two", " three"],
        "aaaaa\nbbbb\nccc\n": ["aaaaa\nbbbb", "\nccc\n"],
        "一二三四五六七八九。十一二三": ["一二三四五六七八九。", "十一二三"],
        "a" * 26: ["a" * 12, "a" * 12, "aa"],
        "": [""],
    }
    for text, oracle in cases.items():
        for parts in ([text], list(text)):
            found = list(cut_document(parts))
            assert [piece.text for piece in found] == oracle
            assert [piece.begins for piece in found] == [True, *[False] * (len(oracle) - 1)]


def test_white_space_is_text_where_a_document_holds_more() -> None:
    """Only documents without anything else are left out."""
    found = [
        DocumentPiece(" "),
        DocumentPiece("\n", False),
        DocumentPiece("a", False),
        DocumentPiece("\n\n", False),
        DocumentPiece(""),
        DocumentPiece(" ", False),
    ]
    assert list(drop_empty_documents(found)) == found[:4]
