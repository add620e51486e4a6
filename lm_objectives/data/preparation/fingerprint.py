"""Hashes that name a cache by everything that its content depends on."""

import json
from collections.abc import Sequence
from hashlib import blake2b, file_digest
from pathlib import Path

_HASHED_BYTES = 64 * 2**20
_TOKENIZER_FILES = (".json", ".txt", ".model", ".jinja")


def fingerprint(**parts: object) -> str:
    """Sixteen hexadecimal digits of plain data; the order of the names does not matter."""
    return blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=8).hexdigest()


def identify_files(files: Sequence[Path]) -> list[list[object]]:
    """Identity of files as plain data.

    Up to 64 MiB in all it is their content, so that a copy or a fresh checkout finds the same cache. Above, where
    reading them at every start would be felt, it is place, size and time of change, as in make.
    """
    status = [file.stat() for file in files]
    if sum(item.st_size for item in status) <= _HASHED_BYTES:
        return [[file.suffix, digest_of(file)] for file in files]
    return [[str(file.resolve()), item.st_size, item.st_mtime_ns] for file, item in zip(files, status, strict=True)]


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
