"""Files that are there whole or not at all, whatever ends their writer; and names on the hub, told from paths."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes its place at `path` once it is whole.

    It is written in the same folder under one fixed name, so that what a killed process left is written over by the
    next one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # or the name could outlive a power cut, and the content not
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


_NAME = re.compile(r"([A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*")


def may_be_on_hub(name: str) -> bool:
    """Whether a name under which nothing lies here is worth asking the hub for: `name` or `owner/name`.

    Where the owner is a folder here, a path was meant; the hub would take long to say no where there is no network.
    """
    return _NAME.fullmatch(name) is not None and ("/" not in name or not Path(name).parent.exists())
