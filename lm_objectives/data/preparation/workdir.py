"""A locked, resumable temporary folder whose result is renamed into place."""

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from lm_objectives.errors import InputError
from lm_objectives.files import NO_ROOM

_log = logging.getLogger("lm_objectives")


@contextmanager
def workdir(target: Path, worth_keeping: Callable[[Path], bool]) -> Iterator[Path]:
    """Yield the folder in which `target` is made, to one process at a time.

    It stays after an interruption where there is something to go on from, and goes after bad input together with every
    folder that was made for it.

    Args:
        target: what will be made; the caller renames it into place.
        worth_keeping: whether the folder holds anything that a next call need not do again.

    Raises:
        InputError: when `target` has no place that can be written, or not enough.
    """
    work, lock = target.with_name(f"{target.name}.partial"), target.with_name(f"{target.name}.lock")
    missing = [parent for parent in target.parents if not parent.exists()]
    keep = False
    try:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            held = _acquire(lock, target)
        except OSError as error:
            raise _not_writable(target.parent, error) from error
        try:
            work.mkdir(exist_ok=True)
            yield work
        except InputError:
            raise
        except OSError as error:
            keep = worth_keeping(work)
            if error.errno not in NO_ROOM:
                raise _not_writable(work, error) from error
            goes_on = ", which goes on from what is done" if keep else ""
            raise InputError(
                f"expected room for tokens in {target.parent}, found {error.strerror}: free some and give the same "
                f"command{goes_on}, or choose another cache folder"
            ) from error
        except BaseException:
            keep = worth_keeping(work)
            if keep:
                _log.info("what is done stays in %s: the same command goes on from it", work)
            raise
        finally:
            if not keep:
                shutil.rmtree(work, ignore_errors=True)
            lock.unlink(missing_ok=True)  # while it is held: a process that waits for it then sees that it is gone
            held.release()
    except BaseException:
        for parent in missing:
            with suppress(OSError):  # others may have used it meanwhile
                parent.rmdir()
        raise


def _not_writable(path: Path, error: OSError) -> InputError:
    return InputError(
        f"expected a folder that can be written, found {path} ({error.strerror}): choose another cache folder"
    )


def _acquire(path: Path, target: Path) -> FileLock:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _log.info("waiting for another process that prepares %s", target)
        lock.acquire()
    return lock
