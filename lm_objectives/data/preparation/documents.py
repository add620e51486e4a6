"""Cut documents into pieces, so that none is too long for memory."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lm_objectives.data.cutting import cut_text

MAX_PIECE = 2**20
"""Characters of the longest piece: a longer document is read in several."""


class DocumentPiece(NamedTuple):
    """A document, or a part of a long one; the pieces of a document one after another are its text.

    Attributes:
        text: what follows the piece before; it is cut as `cut_text` says.
        begins, ends: whether it is its document's first, and its last; the latter is known to `chunk_documents` alone.
        corpus: number of the corpus that it is of.
    """

    text: str
    begins: bool = True
    ends: bool = True
    corpus: int = 0


def cut_document(parts: Iterable[str]) -> Iterator[DocumentPiece]:
    """Cut a document, given in parts of any length, into pieces of at most `MAX_PIECE` characters."""
    held: list[str] = []
    size, begins = 0, True
    for part in parts:
        for at in range(0, len(part), MAX_PIECE):  # a text that is one long part is not copied whole
            held.append(part[at : at + MAX_PIECE])
            size += len(held[-1])
            if size > MAX_PIECE:
                *pieces, rest = cut_text("".join(held), MAX_PIECE)
                for piece in pieces:
                    yield DocumentPiece(piece, begins)
                    begins = False
                held, size = [rest], len(rest)
    if size or begins:
        yield DocumentPiece("".join(held), begins)


def drop_empty_documents(pieces: Iterable[DocumentPiece]) -> Iterator[DocumentPiece]:
    """The pieces of the documents that hold anything but white space.

    Of white space at a document's beginning no more than about `MAX_PIECE` characters are kept.
    """
    blank: list[DocumentPiece] = []  # with which a document begins, as far as is read
    for piece in pieces:
        if piece.begins:
            blank = []
        elif not blank:
            yield piece
            continue
        elif piece.text.isspace() and sum(len(one.text) for one in blank) >= MAX_PIECE:
            continue
        blank.append(piece)
        if not piece.text.isspace() and piece.text:
            yield from blank
            blank = []
