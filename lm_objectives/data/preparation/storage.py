"""Files here and behind URLs, as streams of bytes, with what they are compressed by undone."""

import bz2
import gzip
import io
import lzma
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_objectives.errors import InputError, one_line

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_URL = re.compile(r"[\w+.-]+(::[\w+.-]+)*://")

_SILENCE = 60  # seconds without a byte after which a server counts as gone


@dataclass(frozen=True)
class RemoteFile:
    """A file that fsspec reads.

    Attributes:
        fs: its file system.
        path: its path there.
    """

    fs: "AbstractFileSystem"
    path: str

    @property
    def name(self) -> str:
        """The last part of its path, without a query."""
        return re.split(r"[?#]", self.path)[0].rstrip("/").rpartition("/")[2]

    def __str__(self) -> str:
        return self.fs.unstrip_protocol(self.path)

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """Its bytes from the first to the last, as a stream; all that goes wrong is an `OSError`."""
        try:  # whether a server gives parts of a file is known too late
            stream = self.fs.open(self.path, mode, **({"block_size": 0} if self.streams else {}))
        except Exception as error:  # each file system raises its own
            raise _as_os_error(error) from error
        return io.BufferedReader(_Guarded(stream), 2**20)

    @property
    def streams(self) -> bool:
        """Whether it can be read in its order alone."""
        protocols = self.fs.protocol
        return "http" in ((protocols,) if isinstance(protocols, str) else protocols)

    def identity(self) -> list[object]:
        """Place, size and whatever its file system knows of its content or time of change."""
        try:
            known = self.fs.info(self.path)
        except Exception as error:
            raise unreadable(self, error) from error
        return [str(self), *sorted([str(name), str(value)] for name, value in known.items())]


File = Path | RemoteFile
"""A file here, or one behind a URL."""


class _Guarded(io.RawIOBase):
    """A stream whose errors are `OSError`s."""

    def __init__(self, stream: io.IOBase) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            found = self._stream.read(len(buffer))
        except Exception as error:
            raise _as_os_error(error) from error
        buffer[: len(found)] = found
        return len(found)

    def close(self) -> None:
        self._stream.close()
        super().close()


def _as_os_error(error: Exception) -> OSError:
    return error if isinstance(error, OSError) else OSError(one_line(error))


def is_url(name: str) -> bool:
    """Whether a corpus is named by a URL, `https://…`, `s3://…`, `zip://…::https://…`, and not by a path."""
    return _URL.match(name) is not None


def remote_place(url: str) -> tuple["AbstractFileSystem", str]:
    """The file system of a URL, and the path there.

    Raises:
        InputError: where there is no such file system, or it needs a package that is not there.
    """
    from fsspec.core import url_to_fs

    settings: dict[str, Any] = {}
    if url.lower().startswith(("http://", "https://")):
        from aiohttp import ClientTimeout

        # A large file takes as long as it takes: aiohttp would end any transfer after five minutes.
        settings["client_kwargs"] = {"timeout": ClientTimeout(total=None, sock_connect=_SILENCE, sock_read=_SILENCE)}
    try:
        return url_to_fs(url, **settings)
    except Exception as error:
        raise InputError(
            f"expected a URL that fsspec can read, found {url} ({one_line(error)}): check it, or install what reads it"
        ) from error


def _zstandard(stream: io.BufferedReader) -> io.BufferedReader:
    """Python has none before 3.14."""
    from pyarrow import CompressedInputStream, PythonFile

    return io.BufferedReader(CompressedInputStream(PythonFile(stream, mode="r"), "zstd"))


_COMPRESSIONS: dict[str, Callable[[io.BufferedReader], Any]] = {
    ".gz": lambda stream: gzip.GzipFile(fileobj=stream),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
    ".zst": _zstandard,
}

COMPRESSED = tuple(_COMPRESSIONS)
"""Suffixes of compressed files that are read."""


def open_bytes(file: File) -> io.BufferedReader:
    """The content of a file, uncompressed where its name ends in `.gz`, `.bz2`, `.xz` or `.zst`."""
    stream = file.open("rb")
    suffix = Path(file.name.lower()).suffix
    return _Both(_COMPRESSIONS[suffix](stream), stream) if suffix in _COMPRESSIONS else stream


class _Both(io.BufferedReader):
    """A decompressed stream that closes the one below it too, which those of the standard library leave open."""

    def __init__(self, content: Any, below: io.BufferedReader) -> None:
        super().__init__(content, 2**20)
        self._below = below

    def close(self) -> None:
        super().close()
        self._below.close()


def open_seekable(file: File) -> io.IOBase:
    """The bytes of a file, at any place of it; a copy where the file can only be read from its beginning."""
    if isinstance(file, Path):
        return file.open("rb")
    if not file.streams:
        try:
            return file.fs.open(file.path, "rb")
        except Exception as error:
            raise _as_os_error(error) from error
    copy = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
    with file.open() as stream:
        shutil.copyfileobj(stream, copy, 2**20)
    copy.seek(0)
    return copy


def unreadable(file: File, error: Exception) -> InputError:
    """The one line on a file that the system, a server or a decompressor does not give whole."""
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200] or type(error).__name__
    return InputError(
        f"expected a file that can be read to its end, found {file} ({reason}): check it, or copy it anew"
    )
