"""Hashes that name a cache by everything that its content depends on."""

import json
from collections.abc import Sequence
from hashlib import blake2b, file_digest
from pathlib import Path

from lm_objectives.data.preparation.storage import File, RemoteFile, unreadable

_HASHED_BYTES = 64 * 2**20
_TOKENIZER_FILES = (".json", ".txt", ".model", ".jinja")


def fingerprint(**parts: object) -> str:
    """Sixteen hexadecimal digits of plain data; the order of the names does not matter."""
    return blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=8).hexdigest()


def identify_files(files: Sequence[File]) -> list[list[object]]:
    """Identity of files as plain data.

    Up to 64 MiB in all it is their content, so that a copy or a fresh checkout finds the same cache. Above, where
    reading them at every start would be felt, it is place, size and time of change, as in make; and behind a URL what
    is known there without reading.

    Raises:
        InputError: when one cannot be read.
    """
    size = sum(file.stat().st_size for file in files if isinstance(file, Path))
    return [_identify(file, size <= _HASHED_BYTES) for file in files]


def _identify(file: File, small: bool) -> list[object]:
    if isinstance(file, RemoteFile):
        return file.identity()
    try:
        if small:
            return [file.suffix, digest_of(file)]
        status = file.stat()
    except OSError as error:
        raise unreadable(file, error) from error
    return [str(file.resolve()), status.st_size, status.st_mtime_ns]


def identify_tokenizer(tokenizer: int | str) -> object:
    """Identity of a tokenizer: its size, its folder's files without weights, or its name on the hub."""
    if isinstance(tokenizer, int):
        return tokenizer
    path = Path(tokenizer).expanduser()
    if not path.exists():
        return tokenizer
    files = sorted(file for file in path.iterdir() if file.suffix in _TOKENIZER_FILES) if path.is_dir() else [path]
    return identify_files(files)


def digest_of(file: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits."""
    with file.open("rb") as content:
        return file_digest(content, "sha256").hexdigest()
