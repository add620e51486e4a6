"""Read files as text, a line or a block at a time; errors name the file and the place in it."""

import codecs
import lzma
import zlib
from collections.abc import Callable, Generator, Iterable
from io import BufferedReader
from itertools import chain

from lm_objectives.data.preparation.storage import File, open_bytes, unreadable
from lm_objectives.errors import InputError

BLOCK = 2**20
"""Bytes that are read at once where lines may be of any length."""


def read_lines(file: File, limit: int = -1) -> Generator[str, None, None]:
    """The lines of a file in UTF-8 with their ends, or parts of them of at most `limit` bytes.

    Raises:
        InputError: for what is no UTF-8, and for a file that cannot be read to its end.
    """
    return _read(file, lambda stream: stream.readline(limit))


def read_blocks(file: File) -> Generator[str, None, None]:
    """The text of a file in UTF-8, `BLOCK` bytes at a time; raises what `read_lines` does."""
    return _read(file, lambda stream: stream.read(BLOCK))


def _read(file: File, take: Callable[[BufferedReader], bytes]) -> Generator[str, None, None]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset, mark = 0, "\ufeff"
    try:
        with open_bytes(file) as stream:
            blocks: Iterable[bytes] = iter(lambda: take(stream), b"")
            for block in chain(blocks, [b""]):
                try:
                    text = decoder.decode(block, final=not block)
                except UnicodeDecodeError as error:
                    place = offset - (len(error.object) - len(block)) + error.start
                    raise InputError(
                        f"expected text in UTF-8, found something else in {file} at byte {place:,}: "
                        "convert it, with iconv for example"
                    ) from error
                offset += len(block)
                held = [text.removeprefix(mark)]
                del block, text  # they may be large, and wait here until the next one is asked for
                if held[0]:
                    mark = ""
                    yield held.pop()
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise unreadable(file, error) from error
