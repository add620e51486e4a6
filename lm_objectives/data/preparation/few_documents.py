"""Hold out the end of each document where a corpus has few, cut between paragraphs, or else between lines."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from lm_objectives.data.preparation.documents import DocumentPiece
from lm_objectives.data.preparation.sentences import Place, find_lines, find_paragraphs

FEW_DOCUMENTS = 20
"""A corpus of fewer documents has each of them cut: to hold out whole ones would take a domain out of training."""

_UNITS = {"paragraphs": (find_paragraphs, 2), "lines": (find_lines, 1)}  # line breaks that at least divide two


class Cut(NamedTuple):
    """Where a document is cut.

    Attributes:
        unit: between what, `paragraphs` or `lines`.
        training: how many of them, from its beginning on, train.
    """

    unit: str
    training: int


class _UnitPlaces:
    """Finds the paragraphs or lines of a document piece by piece.

    Attributes:
        count: how many there are so far; one that goes on in the next piece is one.
    """

    def __init__(self, unit: str) -> None:
        self._find, self._least = _UNITS[unit]
        self._breaks = 0
        self.count = 0

    def add(self, text: str) -> tuple[list[Place], bool]:
        """The places of those in the next piece, and whether the first of them goes on from before."""
        breaks = self._breaks + text.count("\n", 0, len(text) - len(text.lstrip()))
        if not (places := self._find(text)):
            self._breaks = breaks
            return [], False
        goes_on = self.count > 0 and breaks < self._least
        self._breaks = text.count("\n", len(text.rstrip()))
        self.count += len(places) - goes_on
        return places, goes_on


class UnitCounts:
    """Counts documents, and the paragraphs and lines of those of corpora with few."""

    def __init__(self) -> None:
        self.documents: dict[int, int] = {}
        """How many each corpus has, by its number."""
        self._number = -1
        self._units: dict[int, dict[int, dict[str, _UnitPlaces]]] = {}

    def add(self, pieces: Iterable[DocumentPiece]) -> Iterator[DocumentPiece]:
        """Count pieces as they pass."""
        for piece in pieces:
            self._number += piece.begins
            self.documents[piece.corpus] = found = self.documents.get(piece.corpus, 0) + piece.begins
            own = self._units.setdefault(piece.corpus, {})
            if found < FEW_DOCUMENTS:
                units = own.setdefault(self._number, {name: _UnitPlaces(name) for name in _UNITS})
                for places in units.values():
                    places.add(piece.text)
            else:
                own.clear()
            yield piece

    def cuttable(self, corpus: int) -> dict[int, tuple[str, int]]:
        """The unit, and how many there are of it, of each document of a corpus with few that has two, by its number."""
        return {
            number: (unit, units[unit].count)
            for number, units in self._units.get(corpus, {}).items()
            if (unit := next((name for name in _UNITS if units[name].count > 1), None))
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
    number, units = -1, _UnitPlaces("lines")
    for held_out, piece in pieces:
        number += piece.begins
        if not (cut := cuts.get(number)):
            yield held_out, piece
            continue
        if piece.begins:
            units = _UnitPlaces(cut.unit)
        before = units.count
        places, goes_on = units.add(piece.text)
        yield from _split(piece, places, cut.training - before + goes_on, begun=before > 0, goes_on=goes_on)


def _split(
    piece: DocumentPiece, units: list[Place], left: int, begun: bool, goes_on: bool
) -> Iterator[tuple[bool, DocumentPiece]]:
    """The part of a piece that trains, and the one that is held out, as far as it has them.

    Args:
        piece: of a document.
        units: the places of its paragraphs or lines.
        left: how many of them, at the piece's beginning, train; below 0 where enough went before.
        begun: whether any of the document's went before.
        goes_on: whether the first of them did.
    """
    first = max(left, 0)
    ends = first < len(units)
    if first and units:
        yield False, piece._replace(text=piece.text[: units[first - 1][1] if ends else None], begins=not begun)
    if ends:
        begins = left > 0 or (left == 0 and not goes_on)
        yield True, piece._replace(text=piece.text[units[first][0] if first else 0 :], begins=begins)
