"""Documents are held out by what is written in them, and never all or none."""

from hashlib import blake2b
from pathlib import Path

import pytest

from lm_objectives.data import split
from lm_objectives.data.pieces import Piece
from lm_objectives.data.split import (
    checked_share,
    cut_in_two,
    key_below_which,
    paragraphs_that_train,
    read_keys,
    with_sides,
    write_keys,
)

DOCUMENTS = [f"Document {number}." for number in range(40)]


def held_out(documents: list[str], share: float, seed: int, folder: Path) -> set[str]:
    pieces = [Piece(text) for text in documents]
    assert list(write_keys(pieces, seed, folder / "keys")) == pieces
    below = key_below_which(folder / "keys", share)
    sides = with_sides(pieces, (key < below for key in read_keys(folder / "keys")))
    return {piece.text for side, piece in sides if side}


def test_share_of_the_different_documents(tmp_path: Path) -> None:
    assert len(held_out(DOCUMENTS, 0.1, 0, tmp_path)) == 4
    assert held_out(DOCUMENTS[::-1] + DOCUMENTS[:5] * 20, 0.1, 0, tmp_path) == held_out(DOCUMENTS, 0.1, 0, tmp_path)


def test_seed_and_text_alone_decide(tmp_path: Path) -> None:
    def key(text: str) -> int:
        return int.from_bytes(blake2b(f"3:{text}".encode(), digest_size=8).digest(), "little")

    ranked = sorted(DOCUMENTS, key=key)
    assert held_out(DOCUMENTS, 0.5, 3, tmp_path) == set(ranked[:20])
    assert held_out(DOCUMENTS, 0.5, 4, tmp_path) != set(ranked[:20])
    # Pinned, so that a later version does not move a document from one side to the other.
    numbers = {DOCUMENTS.index(text) for text in held_out(DOCUMENTS, 0.1, 0, tmp_path)}
    assert numbers == {4, 10, 22, 37}


@pytest.mark.parametrize(("share", "number"), [(0.001, 1), (0.999, 2)])
def test_neither_side_is_empty(share: float, number: int, tmp_path: Path) -> None:
    assert len(held_out(DOCUMENTS[:3], share, 0, tmp_path)) == number


@pytest.mark.parametrize("at_once", [1, 7, 39, 40, 41])
def test_keys_need_not_fit_memory(at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    oracle = {share: held_out(DOCUMENTS * 2, share, 0, tmp_path) for share in (0.01, 0.3, 0.99)}
    monkeypatch.setattr(split, "_AT_ONCE", at_once)
    assert {share: held_out(DOCUMENTS * 2, share, 0, tmp_path) for share in oracle} == oracle


def test_pieces_do_not_matter(tmp_path: Path) -> None:
    list(write_keys([Piece("One. "), Piece("Two.", False), Piece("Three.")], 0, tmp_path / "a"))
    list(write_keys([Piece("One. Two."), Piece("Three.")], 0, tmp_path / "b"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_white_space_around_a_document_and_ends_of_lines_do_not_matter(tmp_path: Path) -> None:
    list(write_keys([Piece("One.\n\n Two."), Piece("Three.")], 0, tmp_path / "a"))
    pieces = [Piece("\n One.\r\n"), Piece("\r\n", False), Piece(" Two. \r\n", False), Piece(" Three.\n\n")]
    list(write_keys(pieces, 0, tmp_path / "b"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    list(write_keys([Piece("One.\n\nTwo."), Piece("Three.")], 0, tmp_path / "b"))
    assert (tmp_path / "a").read_bytes() != (tmp_path / "b").read_bytes()


def test_equal_documents_cannot_be_divided(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^expected two different documents, .* found the same one again and again; "):
        held_out(["A."] * 3, 0.5, 0, tmp_path)


@pytest.mark.parametrize("whole", [True, False])
def test_only_document_is_cut_where_a_paragraph_ends(whole: bool) -> None:
    """The text stays as it is, but for the blank line between what trains and what is held out."""
    pieces = (
        [Piece("A.\n\nB.\n \nC.\n\nD.")]
        if whole
        else [Piece("A.\n\n"), Piece("B.\n \nC.", False), Piece("\n\nD.", False)]
    )
    assert paragraphs_that_train(pieces, 0.25) == 3
    oracles = {3: ["A.\n\nB.\n \nC.", "D."], 2: ["A.\n\nB.", "C.\n\nD."], 1: ["A.", "B.\n \nC.\n\nD."]}
    for cut, oracle in oracles.items():
        texts: list[str] = []
        for piece in cut_in_two(pieces, cut):
            if piece.begins:
                texts.append("")
            texts[-1] += piece.text
        assert [text.strip() for text in texts] == oracle


def test_too_small_to_divide() -> None:
    with pytest.raises(ValueError, match=r"^expected a corpus of two documents or two paragraphs.* found 1; add text"):
        paragraphs_that_train([Piece("A. B.")], 0.25)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_share_out_of_range(share: float) -> None:
    with pytest.raises(ValueError, match=rf"^expected validation_share above 0 and below 1, found {share}; 0.05 holds"):
        checked_share(share)
