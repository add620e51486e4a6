"""Hold out the end of each document where a corpus has few, cut between paragraphs, or else between lines."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from lm_objectives.data.preparation.documents import DocumentPiece
from lm_objectives.data.preparation.sentences import find_lines, find_paragraphs

FEW_DOCUMENTS = 20
"""A corpus of fewer documents has each of them cut: to hold out whole ones would take a domain out of training."""

_UNITS = {"paragraphs": find_paragraphs, "lines": find_lines}


class Cut(NamedTuple):
    """Where a document is cut.

    Attributes:
        unit: between what, `paragraphs` or `lines`.
        training: how many of them, from its beginning on, train.
    """

    unit: str
    training: int


class UnitCounts:
    """Counts documents, and the paragraphs and lines of those of corpora with few."""

    def __init__(self) -> None:
        self.documents: dict[int, int] = {}
        """How many each corpus has, by its number."""
        self._number = -1
        self._units: dict[int, dict[int, dict[str, int]]] = {}

    def add(self, pieces: Iterable[DocumentPiece]) -> Iterator[DocumentPiece]:
        """Count pieces as they pass."""
        for piece in pieces:
            self._number += piece.begins
            self.documents[piece.corpus] = found = self.documents.get(piece.corpus, 0) + piece.begins
            own = self._units.setdefault(piece.corpus, {})
            if found < FEW_DOCUMENTS:
                units = own.setdefault(self._number, dict.fromkeys(_UNITS, 0))
                for name, find in _UNITS.items():
                    units[name] += len(find(piece.text))
            else:
                own.clear()
            yield piece

    def cuttable(self, corpus: int) -> dict[int, tuple[str, int]]:
        """The unit, and how many there are of it, of each document of a corpus with few that has two, by its number."""
        return {
            number: (unit, counts[unit])
            for number, counts in self._units.get(corpus, {}).items()
            if (unit := next((name for name in _UNITS if counts[name] > 1), None))
        }

    def cuts(self, share: float) -> dict[int, Cut]:
        """Where to cut each document that can be, by its number: round(share × all) units are held out, 1 at least."""
        return {
            number: Cut(unit, count - min(max(round(share * count), 1), count - 1))
            for corpus in self.documents
            for number, (unit, count) in self.cuttable(corpus).items()
        }


def cut_few(
    pieces: Iterable[tuple[bool, DocumentPiece]], cuts: Mapping[int, Cut]
) -> Iterator[tuple[bool, DocumentPiece]]:
    """Make two of each document that is to be cut, of which the second is held out; the others pass as they are."""
    number, seen = -1, 0
    for held_out, piece in pieces:
        if piece.begins:
            number, seen = number + 1, 0
        if cut := cuts.get(number):
            units = _UNITS[cut.unit](piece.text)
            yield from _split(piece, [*units], cut.training - seen, seen)
            seen += len(units)
        else:
            yield held_out, piece


def _split(
    piece: DocumentPiece, units: list[tuple[int, int]], left: int, seen: int
) -> Iterator[tuple[bool, DocumentPiece]]:
    """The part of a piece that trains, and the one that is held out, as far as it has them.

    Args:
        piece: of a document.
        units: the places of its paragraphs or lines.
        left: how many of them, at the piece's beginning, train; below 0 where enough went before.
        seen: how many of the document's went before.
    """
    first = max(left, 0)
    ends = first < len(units)
    if first and units:
        yield False, piece._replace(text=piece.text[: units[first - 1][1] if ends else None], begins=seen == 0)
    if ends:
        yield True, piece._replace(text=piece.text[units[first][0] if first else 0 :], begins=left >= 0)
