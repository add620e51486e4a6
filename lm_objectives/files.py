"""Files that are there whole or not at all, whatever ends their writer; and names on the hub, told from paths."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes its place at `path` once it is whole.

    It is written in the same folder under one fixed name, so that what a killed process left is written over by the
    next one.

    Raises:
        OSError: whose `filename` is the path, where it cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # or the name could outlive a power cut, and the content not
        part.replace(path)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename in (None, part, str(part)):
            error.filename = str(path)  # a failed write has none
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of the system that a disk, or one's part of it, is full."""

_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)


def explain_os_error(error: OSError) -> str:
    """What a file could not be read or written for: "room for X, found none left", and the like.

    >>> explain_os_error(OSError(errno.ENOSPC, "No space left on device", "last.ckpt"))
    'expected room for last.ckpt, found none left (No space left on device): free some'
    >>> explain_os_error(PermissionError(errno.EACCES, "Permission denied", "a.csv"))
    'expected permission for a.csv, found none (Permission denied): change its owner or mode, or take another place'
    """
    name, why = error.filename or "a file", error.strerror
    if error.errno in NO_ROOM:
        return f"expected room for {name}, found none left ({why}): free some"
    if error.errno in _NOT_ALLOWED:
        return f"expected permission for {name}, found none ({why}): change its owner or mode, or take another place"
    if error.errno == errno.ENOENT:
        return f"expected {name}, found it gone ({why}): keep it in place while it is in use"
    return (
        f"expected {name} to be read and written, found that it cannot be ({why}): check it, and the disk that it is on"
    )


_NAME = re.compile(r"([A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*")


def may_be_on_hub(name: str) -> bool:
    """Whether a name under which nothing lies here is worth asking the hub for: `name` or `owner/name`.

    Where the owner is a folder here, a path was meant; the hub would take long to say no where there is no network.
    """
    return _NAME.fullmatch(name) is not None and ("/" not in name or not Path(name).parent.exists())
