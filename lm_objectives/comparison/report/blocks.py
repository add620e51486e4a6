"""The blocks that a report is made of, whatever it is written in."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Heading:
    """Begins a section; level 1 is the report's own."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list, one line each."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Table:
    """Cells under headings."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Picture:
    """A PNG by its file name, and what it shows."""

    name: str
    shows: str


Block = Heading | Paragraph | Bullets | Table | Picture
