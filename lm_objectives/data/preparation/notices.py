"""Lines about what is not read, each told once."""

import logging
import os
from collections.abc import Collection, Iterable, Iterator
from functools import cache

_log = logging.getLogger("lm_objectives")

_SHOWN = 3  # names that stand for all


def not_read(place: str, what: str, names: Collection[str], mend: str) -> Iterator[str]:
    """One line on what is left out of a place, with how many there are and the first names, where there are any.

    >>> [*not_read("texts", "files of other kinds", ["b.md", "a.md", "d", "c"], "rename them")]
    ['not read in texts: files of other kinds, 4 (a.md, b.md, c, …): rename them']
    """
    yield from told(f"not read in {place}", what, names, mend)


def told(beginning: str, what: str, names: Collection[str], end: str) -> Iterator[str]:
    """One line on things with their number and the first names, where there are any."""
    if names:
        shown = [*sorted(names)[:_SHOWN], *["…"][: len(names) > _SHOWN]]
        yield f"{beginning}: {what}, {len(names):,} ({', '.join(shown)}): {end}"


def count(number: int, noun: str) -> str:
    """How many things there are.

    >>> count(1, "document"), count(1200, "document")
    ('1 document', '1,200 documents')
    """
    return f"{number:,} {noun}{'s' * (number != 1)}"


def tell(lines: Iterable[str]) -> None:
    """Log lines that this process has not logged before: a run prepares in its checks, and again where it trains."""
    for line in lines:
        if (
            os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0")) == "0"
        ):  # of the processes on a machine one says it
            _tell(line)


@cache
def _tell(line: str) -> None:
    _log.warning("%s", line)
