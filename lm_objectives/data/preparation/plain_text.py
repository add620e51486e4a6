"""Cut plain text into documents: by file, blank lines, lines, or strings that stand between them."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import chain, groupby, pairwise

from lm_objectives.data.preparation.documents import MAX_PIECE, DocumentPiece, cut_document, drop_empty_documents
from lm_objectives.data.preparation.storage import File
from lm_objectives.data.preparation.streams import read_blocks
from lm_objectives.errors import expect

_UNITS = ("file", "blank-line", "line")

_LINE_ENDS = 4  # characters of two line breaks, before a string between documents and after it


@dataclass
class DocumentRule:
    """What one document of plain text is.

        file                        One.\\n\\nTwo.\\n            ->  "One.\\n\\nTwo.\\n"
        blank-line                  One.\\nTwo.\\n\\nThree.\\n     ->  "One.\\nTwo.", "Three."
        line                        One.\\nTwo.\\n              ->  "One.", "Two."
        <|endoftext|>               One.\\n<|endoftext|>\\nTwo.  ->  "One.", "Two."

    Args:
        documents: `file`, `blank-line`, `line`, or a string that stands between documents.
        ends: further strings that end a document, whatever `documents` says.

    Attributes:
        seen: how often each string that ends documents was found.
    """

    documents: str
    ends: tuple[str, ...] = ()
    seen: Counter[str] = field(default_factory=Counter, init=False)

    @property
    def separator(self) -> str | None:
        """The string between documents, where one was given."""
        return None if self.documents in _UNITS else self.documents

    def read(self, file: File) -> Iterator[DocumentPiece]:
        """The documents of a file; those without text are left out, but where it has no other one."""
        found = False
        for piece in drop_empty_documents(chain.from_iterable(map(cut_document, self._documents(file)))):
            found = True
            yield piece
        if not found:
            yield DocumentPiece("")

    def _documents(self, file: File) -> Iterator[Iterable[str]]:
        """The parts of each document."""
        own = "\n" if self.documents == "line" else self.separator
        strings = sorted({*self.ends, *filter(None, [own])}, key=len, reverse=True)
        pattern = re.compile("|".join(map(re.escape, strings)) or "(?!)")
        numbered = self._numbered(read_blocks(file), pattern, max(map(len, strings), default=0))
        for _, parts in groupby(numbered, lambda part: part[0]):
            texts = (text for _, text in parts)
            if self.documents == "blank-line":
                yield from map(_without_last_end, _blocks(texts))
            else:
                yield texts

    def _numbered(self, parts: Iterable[str], pattern: re.Pattern[str], longest: int) -> Iterator[tuple[int, str]]:
        """Each part with the number of its document, without the strings between them and the line breaks at these."""
        number, held = 0, ""
        for part in chain(parts, [None]):
            text, at = held + (part or ""), 0
            for found in pattern.finditer(text):
                if part is not None and found.end() + 2 > len(text):
                    break  # of the line break after it not all is read
                if found[0] in {*self.ends, self.separator}:
                    self.seen[found[0]] += 1
                yield number, _without_end(text[at : found.start()])
                number, at = number + 1, found.end()
                at += next((len(end) for end in ("\r\n", "\n") if text.startswith(end, at)), 0)
            stop = len(text) if part is None else max(at, len(text) - longest - _LINE_ENDS)
            yield number, text[at:stop]
            held = text[stop:]


def check_documents(documents: str) -> str:
    """The setting, when it is one and no slip for one."""
    expected = f"data.documents as {', '.join(_UNITS)} or a string that stands between documents"
    expect(bool(documents.strip(" ")), expected, repr(documents), "file takes each file for one")
    near = get_close_matches(documents.lower(), _UNITS, 1, 0.75)
    expect(not near or documents in _UNITS, expected, repr(documents), f"did you mean {''.join(near)}?")
    return documents


def _blocks(parts: Iterable[str]) -> Iterator[Iterator[str]]:
    """The lines between blank ones, those beyond `MAX_PIECE` characters in parts."""
    blank = ends = True

    def is_blank(line: str) -> bool:
        nonlocal blank, ends
        blank = line.isspace() and (blank or ends)
        ends = line.endswith("\n")
        return blank

    return (block for none, block in groupby(_lines(parts), is_blank) if not none)


def _lines(parts: Iterable[str]) -> Iterator[str]:
    held = ""
    for part in parts:
        *lines, held = f"{held}{part}".split("\n")
        yield from (f"{line}\n" for line in lines)
        if len(held) > MAX_PIECE:
            yield held
            held = ""
    if held:
        yield held


def _without_end(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")


def _without_last_end(block: Iterator[str]) -> Iterator[str]:
    """The lines of a block, the last without its end, which belongs to the blank line after it."""
    for line, following in pairwise(chain(block, [None])):
        assert line is not None
        yield line if following is not None else _without_end(line)
