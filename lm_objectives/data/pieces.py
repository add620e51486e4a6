"""Documents in pieces, so that none is too long for memory."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

PIECE = 2**20
"""Characters of a piece, about: a document longer than that is read in several."""


class Piece(NamedTuple):
    """A document, or a part of a long one; the pieces of a document put together are its text.

    Attributes:
        text: ends where a paragraph does, or, where a paragraph is longer than a piece, where a line does.
        begins: whether it is its document's first.
        corpus: number of the corpus that it is of.
    """

    text: str
    begins: bool = True
    corpus: int = 0


def cut_document(text: str) -> Iterator[Piece]:
    """A document in pieces of at most about `PIECE` characters, cut at a blank line, or at a line's end without one."""
    start = 0
    while len(text) - start > PIECE:
        stop = text.rfind("\n\n", start + 1, start + PIECE) + 2
        if stop < 2:
            stop = text.rfind("\n", start + 1, start + PIECE) + 1 or text.find("\n", start + PIECE) + 1
        if stop < 1:
            break
        yield Piece(text[start:stop], start == 0)
        start = stop
    if start < len(text) or not start:
        yield Piece(text[start:], start == 0)


def filled(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The pieces that hold anything but white space; documents that hold nothing else are gone with theirs."""
    begins = False
    for piece in pieces:
        begins |= piece.begins
        if piece.text and not piece.text.isspace():
            yield piece._replace(begins=begins)
            begins = False
