"""Which documents train, and which are held out."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np

from lm_objectives.data.pieces import Piece
from lm_objectives.data.sentences import find_paragraphs
from lm_objectives.data.words import training_cost
from lm_objectives.whole_file import whole_file

_AT_ONCE = 2**20  # keys in memory


@dataclass(frozen=True)
class Survey:
    """What one reading of all documents tells.

    Attributes:
        documents: how many hold text.
        empty: how many hold none, and are left out.
        cost: of all text, as `training_cost` counts it.
        below: documents with a key below this one are held out.
        identity: what tells all documents and their order from any others, wherever they lie.
        cut: paragraphs of the only document that train, where there is no other one; 0 where there are several.
    """

    documents: int
    empty: int
    cost: int
    below: int
    identity: str
    cut: int = 0


def write_keys(pieces: Iterable[Piece], seed: int, path: Path) -> Iterator[Piece]:
    """Give the pieces back, and write each document's key to `path`: the hash of the seed and its text, in 64 bits.

    Equal documents have equal keys, wherever they stand and whatever white space stands around them or ends their
    lines; the same on every machine and with every numpy.
    """
    with whole_file(path) as file:
        digest, held = None, ""
        for piece in pieces:
            if piece.begins:
                if digest is not None:
                    file.write(digest.digest())
                digest = blake2b(f"{seed}:".encode(), digest_size=8)
                held = ""
            assert digest is not None
            text = held + piece.text.replace("\r\n", "\n")
            text = text.lstrip() if piece.begins else text
            inner = text.rstrip()
            digest.update(inner.encode())
            held = text[len(inner) :]  # white space that ends the document, or lies within it
            yield piece
        if digest is not None:
            file.write(digest.digest())


def read_keys(path: Path) -> Iterator[int]:
    """The keys of the documents, in their order."""
    for block in _blocks(path):
        yield from block.tolist()


def key_below_which(path: Path, share: float) -> int:
    """The key below which documents are held out: round(share × different documents), at least one and never all.

    Raises:
        ValueError: when all documents are equal.
    """
    buckets = path.stat().st_size // 8 // _AT_ONCE + 1  # of keys of one size, so that memory holds one
    different = [len(_bucket(path, number, buckets)) for number in range(buckets)]
    if sum(different) < 2:
        raise ValueError(
            "expected two different documents, so that one can be held out; found the same one again and again; "
            "add text"
        )
    wanted = number_held_out(sum(different), share)
    bucket = int(np.searchsorted(np.cumsum(different), wanted, side="right"))
    return int(_bucket(path, bucket, buckets)[wanted - sum(different[:bucket])])


def checked_share(share: float) -> float:
    """The share, when it is one."""
    if not 0 < share < 1:
        raise ValueError(
            f"expected validation_share above 0 and below 1, found {share}; 0.05 holds out one document in twenty"
        )
    return share


def number_held_out(number: int, share: float) -> int:
    """round(share × number), at least one and never all."""
    return min(max(round(share * number), 1), number - 1)


def paragraphs_that_train(pieces: Iterable[Piece], share: float) -> int:
    """Where an only document is cut in two: how many of its paragraphs train; the others, its end, are held out.

    Raises:
        ValueError: when there is only one paragraph, or none.
    """
    paragraphs = sum(len(find_paragraphs(piece.text)) for piece in pieces)
    if paragraphs < 2:
        raise ValueError(
            "expected a corpus of two documents or two paragraphs, so that one can be held out; "
            f"found {paragraphs}; add text, or divide it by blank lines"
        )
    return paragraphs - number_held_out(paragraphs, share)


def cut_in_two(pieces: Iterable[Piece], cut: int) -> Iterator[Piece]:
    """An only document as two, the second from its paragraph number `cut` on."""
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


def take_survey(pieces: Iterable[Piece]) -> tuple[int, int]:
    """Number of documents, and what their text would cost a tokenizer's training."""
    documents = cost = 0
    for piece in pieces:
        documents += piece.begins
        cost += training_cost(piece.text)
    return documents, cost


def with_sides(pieces: Iterable[Piece], held_out: Iterator[bool]) -> Iterator[tuple[bool, Piece]]:
    """Each piece with whether its document, of which `held_out` tells one by one, is held out."""
    side = False
    for piece in pieces:
        if piece.begins:
            side = next(held_out)
        yield side, piece


def _blocks(path: Path) -> Iterator[np.ndarray]:
    with path.open("rb") as file:
        while len(block := np.frombuffer(file.read(8 * _AT_ONCE), dtype="<u8")):
            yield block


def _bucket(path: Path, number: int, buckets: int) -> np.ndarray:
    """The different keys of one of the parts into which their range is divided, ascending."""
    width = 2**64 // buckets + 1
    low, high = number * width, min((number + 1) * width, 2**64) - 1
    kept = [block[(block >= np.uint64(low)) & (block <= np.uint64(high))] for block in _blocks(path)]
    return np.unique(np.concatenate([np.empty(0, "<u8"), *kept]))
