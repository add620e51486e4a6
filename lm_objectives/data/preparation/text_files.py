"""Read plain text and JSON, also as .gz, as streams; errors name the file and the place in it."""

import codecs
import gzip
import json
import re
import zlib
from collections.abc import Generator, Iterable, Iterator
from io import BufferedIOBase
from itertools import chain, groupby, pairwise
from pathlib import Path
from typing import Any, Literal

from lm_objectives.data.preparation.documents import DocumentPiece, cut_document
from lm_objectives.errors import InputError

TxtDocuments = Literal["file", "blank-line"]

_BLOCK = 2**20  # bytes of a JSON array that are read at once

_BETWEEN = re.compile(r"[\s,]*")  # what stands between the records of an array


def read_txt(path: Path, documents: TxtDocuments) -> Iterator[DocumentPiece]:
    """The documents of a plain text file: the file as a whole, or each of its blocks between blank lines."""
    if documents == "file":
        yield from cut_document(_lines(path, _BLOCK))
        return
    for blank, block in groupby(_lines(path), str.isspace):
        if not blank:
            yield from cut_document(_inner(block))


def _inner(block: Iterator[str]) -> Iterator[str]:
    """The lines of a block, the last without its end, which belongs to the blank line after it."""
    for line, following in pairwise(chain(block, [None])):
        assert line is not None
        yield line if following is not None else line.removesuffix("\n").removesuffix("\r")


def read_json(path: Path) -> Iterator[tuple[int, Any]]:
    """The records of a file of JSON lines, or of one array, each with the number of the line where it starts.

    Raises:
        InputError: for what is no JSON or no UTF-8, and for a file that cannot be read to its end.
    """
    lines = _lines(path, _BLOCK)
    first = next((line for line in lines if not line.isspace()), "")
    lines.close()
    if first.lstrip().startswith("["):
        yield from _array(path)
        return
    for number, line in enumerate(_lines(path), 1):
        if line.isspace():
            continue
        try:
            yield number, json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise _broken(path, number, error) from error


def _array(path: Path) -> Iterator[tuple[int, Any]]:
    """The records of one array, of which memory holds about one block."""
    decoder, buffer, number, enough, opened = json.JSONDecoder(), "", 1, 0, False
    for block in chain(_lines(path, _BLOCK), [None]):
        buffer += block or ""
        if block is not None and len(buffer) < enough:
            continue
        at = 0
        while True:
            between = _BETWEEN.match(buffer, at)
            assert between is not None
            number += buffer.count("\n", at, between.end())
            at = between.end()
            if not opened and buffer[at : at + 1] == "[":
                at, opened = at + 1, True
                continue
            if buffer[at : at + 1] == "]":
                return
            try:
                record, end = decoder.raw_decode(buffer, at)
            except (json.JSONDecodeError, RecursionError) as error:
                if block is None:
                    raise _broken(path, number, error) from error
                break
            yield number, record
            number += buffer.count("\n", at, end)
            at = end
        buffer = buffer[at:]
        enough = 2 * len(buffer)  # a record longer than a block is not tried again at every block


def _broken(path: Path, number: int, error: Exception) -> InputError:
    reason = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
    return InputError(f"expected JSON in {path}, found a mistake in line {number} ({reason}): mend or remove the line")


def _lines(path: Path, limit: int = -1) -> Generator[str, None, None]:
    """The lines of a file in UTF-8, or parts of them of at most `limit` bytes."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset = 0
    try:
        with _open(path) as stream:
            blocks: Iterable[bytes] = iter(lambda: stream.readline(limit), b"")
            for block in chain(blocks, [b""]):
                try:
                    text = decoder.decode(block, final=not block)
                except UnicodeDecodeError as error:
                    place = offset - (len(error.object) - len(block)) + error.start
                    raise InputError(
                        f"expected text in UTF-8, found something else in {path} at byte {place:,}: "
                        "convert it, with iconv for example"
                    ) from error
                if text:
                    yield text if offset else text.removeprefix("\ufeff")
                offset += len(block)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"expected a file that can be read to its end, found {path} ({reason}): check it, or copy it anew"
        ) from error


def _open(path: Path) -> BufferedIOBase:
    return gzip.GzipFile(path) if path.name.lower().endswith(".gz") else path.open("rb")
