"""A folder to work in beside the result: one process at a time, gone on from after a kill, never taken for a result."""

import errno
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from lm_objectives.errors import InputError

_log = logging.getLogger("lm_objectives")


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def workdir(target: Path, worth_keeping: Callable[[Path], bool]) -> Iterator[Path]:
    """The folder in which `target` is made, for one process at a time.

    It stays after an interruption where there is something to go on from, and goes after bad input together with every
    folder that was made for it.

    Args:
        target: what will be made; whoever makes it renames it into place.
        worth_keeping: whether what the folder holds would spare a next call any work.

    Raises:
        ValueError: when `target` has no place that can be written, or not enough.
    """
    work, lock = target.with_name(f"{target.name}.partial"), target.with_name(f"{target.name}.lock")
    missing = [parent for parent in target.parents if not parent.exists()]
    keep = False
    try:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            held = _acquired(lock, target)
        except OSError as error:
            raise InputError(
                f"expected a folder that can be written, found {target.parent} ({error.strerror}); "
                "choose another cache folder"
            ) from error
        try:
            work.mkdir(exist_ok=True)
            yield work
        except ValueError:
            raise
        except OSError as error:
            keep = worth_keeping(work)
            if error.errno not in _NO_ROOM:
                raise InputError(
                    f"expected a folder that can be written, found {work} ({error.strerror}); choose another cache "
                    "folder"
                ) from error
            goes_on = ", which goes on from what is done" if keep else ""
            raise InputError(
                f"expected room for tokens in {target.parent}, found {error.strerror}; free some and give the same "
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
            lock.unlink(missing_ok=True)  # while it is held: whoever waits for it then sees that it is gone
            held.release()
    except BaseException:
        for parent in missing:
            with suppress(OSError):  # others may have used it meanwhile
                parent.rmdir()
        raise


def _acquired(path: Path, target: Path) -> FileLock:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _log.info("waiting for another process that prepares %s", target)
        lock.acquire()
    return lock
