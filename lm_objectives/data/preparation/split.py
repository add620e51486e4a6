"""Split documents into training and validation by a hash of their text."""

import re
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from unicodedata import normalize, ucd_3_2_0

import numpy as np

from lm_objectives.data.preparation.documents import DocumentPiece
from lm_objectives.errors import expect
from lm_objectives.files import atomic_write


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


def held_out_threshold(keys: np.ndarray, share: float, cut: Collection[int] = ()) -> int:
    """The key below which documents are held out: share × 2^64, whatever the documents.

    Where that would leave a side empty, as it may with few documents, it is the nearest key that does not: the document
    with the smallest key is held out, or the one with the largest trains, each with all that have the same key. Where
    others are cut in two, and so on both sides, documents that all have one key train.

    Args:
        keys: of the documents.
        share: part of them that is held out, about.
        cut: numbers of the documents that are cut.

    Raises:
        InputError: when all documents have one key, and none is cut.
    """
    bounds = [-1, *sorted(cut), len(keys)]
    runs = [run for before, after in pairwise(bounds) if len(run := keys[before + 1 : after])]
    if not runs:
        return 0
    lowest, highest = min(int(run.min()) for run in runs), max(int(run.max()) for run in runs)
    expected = "two different documents, in more than case, space and punctuation, so that one can be held out"
    expect(lowest != highest or bool(cut), expected, "the same one again and again", "add text")
    return min(max(int(share * 2**64), lowest + 1), highest)


def check_validation_share(share: float) -> float:
    """The share, when it is one."""
    expect(0 < share < 1, "validation_share above 0 and below 1", share, "0.05 holds out about one document in twenty")
    return share


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
