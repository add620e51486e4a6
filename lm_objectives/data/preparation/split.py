"""Split documents into training and validation by a hash of their text."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path
from unicodedata import normalize, ucd_3_2_0

import numpy as np

from lm_objectives.data.preparation.documents import DocumentPiece
from lm_objectives.data.preparation.sentences import find_paragraphs
from lm_objectives.data.words import training_cost
from lm_objectives.errors import expect
from lm_objectives.files import atomic_write

_BEGINS = b"\xff"  # a byte that no text in UTF-8 has


@dataclass(frozen=True)
class CorpusScan:
    """What one pass over all documents finds.

    Attributes:
        documents: how many hold text.
        empty: how many hold none, and are left out.
        cost: of all text, as `training_cost` counts it.
        below: documents with a key below this one are held out.
        identity: hash of all documents in their order, wherever they lie.
        cut: paragraphs of the only document that train, where there is no other one; 0 where there are several.
    """

    documents: int
    empty: int
    cost: int
    below: int
    identity: str
    cut: int = 0


class DocumentKey:
    """A document's 64 bits: the hash of `split_seed` and of its text folded as by `fold_text`.

    A pure function of the two, the same on every machine and wherever the document stands, so that a copy of it with
    other case, white space or punctuation is on its side. A text that folds to nothing, as one of punctuation alone,
    keeps all but its white space.

    Args:
        split_seed: another one gives all documents other keys.
    """

    def __init__(self, split_seed: int) -> None:
        self._unfolded = blake2b(f"{split_seed}:".encode(), digest_size=8)
        self._folded = self._unfolded.copy()
        self._found = False

    def update(self, text: str) -> None:
        """Add the document's next piece."""
        if rest := fold_text(text):
            self._found = True
            self._folded.update(rest)
        elif not self._found:
            self._unfolded.update("".join(text.split()).encode())

    def digest(self) -> bytes:
        """The key, its lowest byte first."""
        return (self._folded if self._found else self._unfolded).digest()


def write_keys(pieces: Iterable[DocumentPiece], split_seed: int, path: Path) -> Iterator[DocumentPiece]:
    """Write each document's key to `path`, 8 bytes a document, and pass the pieces on."""
    with atomic_write(path) as file:
        key = None
        for piece in pieces:
            if piece.begins:
                if key is not None:
                    file.write(key.digest())
                key = DocumentKey(split_seed)
            assert key is not None
            key.update(piece.text)
            yield piece
        if key is not None:
            file.write(key.digest())


def read_keys(path: Path) -> np.ndarray:
    """The keys of the documents, in their order, memory-mapped."""
    return np.memmap(path, dtype="<u8", mode="r")


def held_out_threshold(path: Path, share: float) -> int:
    """The key below which documents are held out: share × 2^64, whatever the documents.

    Where that would leave a side empty, as it may with few documents, it is the nearest key that does not: the document
    with the smallest key is held out, or the one with the largest trains, each with all that have the same key.

    Raises:
        InputError: when all documents have one key.
    """
    keys = read_keys(path)
    lowest, highest = int(keys.min()), int(keys.max())
    expected = "two different documents, in more than case, space and punctuation, so that one can be held out"
    expect(lowest != highest, expected, "the same one again and again", "add text")
    return min(max(int(share * 2**64), lowest + 1), highest)


def check_validation_share(share: float) -> float:
    """The share, when it is one."""
    expect(0 < share < 1, "validation_share above 0 and below 1", share, "0.05 holds out about one document in twenty")
    return share


def count_training_paragraphs(pieces: Iterable[DocumentPiece], share: float) -> int:
    """How many paragraphs of an only document train; round(share × all), at least one and never all, are held out.

    Raises:
        InputError: when there is only one paragraph, or none.
    """
    paragraphs = sum(len(find_paragraphs(piece.text)) for piece in pieces)
    expected = "a corpus of two documents or two paragraphs, so that one can be held out"
    expect(paragraphs >= 2, expected, paragraphs, "add text, or divide it by blank lines")
    return paragraphs - min(max(round(share * paragraphs), 1), paragraphs - 1)


def split_document(pieces: Iterable[DocumentPiece], cut: int) -> Iterator[DocumentPiece]:
    """Split an only document in two, the second from its paragraph number `cut` on."""
    seen = 0
    for piece in pieces:
        paragraphs = find_paragraphs(piece.text)
        first = max(cut - seen, 0)  # paragraphs that train
        ends = first < len(paragraphs)
        if first and paragraphs:
            stop = paragraphs[first - 1][1] if ends else len(piece.text)
            yield piece._replace(text=piece.text[:stop], begins=seen == 0)
        if ends:
            yield piece._replace(text=piece.text[paragraphs[first][0] if first else 0 :], begins=seen <= cut)
        seen += len(paragraphs)


def scan_corpus(pieces: Iterable[DocumentPiece]) -> tuple[int, int, str]:
    """Number of documents, the cost of their text in a tokenizer's training, and their identity as in `CorpusScan`."""
    documents = cost = 0
    identity = blake2b(digest_size=8)
    for piece in pieces:
        documents += piece.begins
        cost += training_cost(piece.text)
        identity.update(_BEGINS * piece.begins + piece.text.encode())
    return documents, cost, identity.hexdigest()


def label_held_out(pieces: Iterable[DocumentPiece], held_out: Iterator[bool]) -> Iterator[tuple[bool, DocumentPiece]]:
    """Pair each piece with whether its document is held out; `held_out` has one entry a document."""
    side = False
    for piece in pieces:
        if piece.begins:
            side = next(held_out)
        yield side, piece


def fold_text(text: str) -> bytes:
    """The letters, marks, digits and symbols of a text, without case and compatibility forms, one after the other.

        "Ｔｈｅ  “ﬁrst” Straße!"  ->  b"thefirststrasse"

    Two texts that are a compatibility caseless match (Unicode Standard, section 3.13, definition D146), as all that
    have one form in NFKC, are folded to the same, in UTF-8. Every character is decomposed by itself and white space
    left out: pieces that are cut anywhere but before a combining mark give, one after the other, what the whole gives.
    Which characters are left out is read in Unicode 3.2, which every Python holds, and what Unicode has added since is
    kept, so that it does not depend on Python's version.
    """
    text = normalize("NFKD", normalize("NFKD", text).casefold())
    ascii_left_out, others_left_out = _left_out()
    if not text.isascii():
        text = others_left_out.sub("", text)
    return text.encode().translate(None, ascii_left_out)


@cache
def _left_out() -> tuple[bytes, re.Pattern[str]]:
    """White space, punctuation and control characters: those in ASCII, and a pattern of the others."""
    codes = [code for code in range(2**16) if _is_left_out(chr(code))]
    ascii_ones = bytes(code for code in codes if code < 128)
    return ascii_ones, re.compile(f"[{re.escape(''.join(chr(code) for code in codes if code >= 128))}]+")


def _is_left_out(character: str) -> bool:
    category = ucd_3_2_0.category(character)
    return category[0] in "ZP" or category in ("Cc", "Cf")
