"""Cut documents into pieces, so that none is too long for memory."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

MAX_PIECE = 2**20
"""Characters of the longest piece: a longer document is read in several."""

_PLACES = [
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r".*[.!?](?= [^\W\d_])",  # before the space that leads a sentence in
        r".*[。！？](?=[^\W\d_])",
        r".*[^\W_](?= [^\W\d_])",  # before the space between two words
        r".*\S(?=\s)",
    )
]

_SEARCHED = 4  # the last 1 / 4 of a piece: the best place there is taken before a later one


class DocumentPiece(NamedTuple):
    """A document, or a part of a long one; the pieces of a document one after another are its text.

    Attributes:
        text: what follows the piece before; it is cut as `cut_place` says.
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
        held.append(part)
        size += len(part)
        if size > MAX_PIECE:
            text, start = "".join(held), 0
            while len(text) - start > MAX_PIECE:
                stop = cut_place(text, start, MAX_PIECE)
                yield DocumentPiece(text[start:stop], begins)
                start, begins = stop, False
            held, size = [text[start:]], len(text) - start
    if size or begins:
        yield DocumentPiece("".join(held), begins)


def cut_place(text: str, start: int, most: int) -> int:
    """Where to cut a text that goes on, at most `most` characters after `start`.

    A tokenizer that looks at words makes of both parts what it makes of the whole, since the cut lies in front of a
    single space, or after a full stop where none follows. Best of all it ends a sentence; a text that has neither in
    the last quarter is cut at any white space, or in the middle of a word.
    """
    first, last = start + most - most // _SEARCHED, start + most
    for place in _PLACES:
        found = place.match(text, first, last + 1)
        if found and start < found.end() <= last:
            return found.end()
    return last


def drop_empty_documents(pieces: Iterable[DocumentPiece]) -> Iterator[DocumentPiece]:
    """The pieces of the documents that hold anything but white space."""
    blank: list[DocumentPiece] = []  # with which a document begins, as far as is read
    for piece in pieces:
        if piece.begins:
            blank = []
        elif not blank:
            yield piece
            continue
        blank.append(piece)
        if not piece.text.isspace() and piece.text:
            yield from blank
            blank = []
