"""A checkpoint with one of its keys changed, and the paths to all of its keys."""

from collections.abc import Iterator
from typing import Any

Path = tuple[Any, ...]

GONE = object()
"""Stands for a key that is deleted."""


def changed(content: Any, path: Path, value: Any) -> Any:
    """A copy of nested dicts, lists and tuples with another value at a path; what is beside it is shared."""
    key, *rest = path
    copy = dict(content) if isinstance(content, dict) else list(content)
    if rest:
        copy[key] = changed(copy[key], tuple(rest), value)
    elif value is GONE:
        del copy[key]
    else:
        copy[key] = value
    return tuple(copy) if isinstance(content, tuple) else copy


def paths(content: Any, path: Path = ()) -> Iterator[Path]:
    """Paths to everything in nested dicts, lists and tuples."""
    listed = dict(enumerate(content)) if isinstance(content, (list, tuple)) else content
    for key, value in listed.items() if isinstance(listed, dict) else ():
        yield (*path, key)
        yield from paths(value, (*path, key))
