"""Errors that are the user's to mend, and those of the machine that end a run."""

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """A setting, file or text that cannot be used: says what was expected, what was found, and how to mend it.

    The command line prints it in one line and exits with code 2; any other error is a defect and keeps its traceback.
    """


class RunError(RuntimeError):
    """A run cannot go on, for a reason that is not in its settings: a full disk, a lost folder, losses that diverge.

    The command line prints it in one line and exits with code 1; the last checkpoint stays as it is.
    """


def expect(valid: bool, expected: str, found: object, mend: str, name: str | None = None) -> None:
    """Raise an `InputError` unless `valid`: "expected …, found …: mend", or "{name} expects …" where one is given."""
    if not valid:
        raise InputError(f"{f'{name} expects' if name else 'expected'} {expected}, found {found}: {mend}")


@contextmanager
def refused_in(where: str) -> Iterator[None]:
    """Say of what is refused where it stands: "{where}: expected …"."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def one_line(error: BaseException) -> str:
    """An error of other code for the middle of a message: its class, and the start of its text."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
