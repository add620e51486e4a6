"""What is said of a run that the machine ends: a full disk, too little memory, a data worker or a rank that died."""

import re
import sys
import traceback

import torch

from lm_objectives.cli.ranks import rank_ended
from lm_objectives.errors import RunError
from lm_objectives.files import NO_ROOM, explain_os_error
from lm_objectives.training.step import NonFiniteError

_OF_WORKER = re.compile(r"Caught (\w+) in DataLoader worker process \d+\..*\n\1: (.*)", re.DOTALL)
_WORKER_DIED = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (.*)")
_NO_MEMORY = re.compile(r"DefaultCPUAllocator: [^.]*|\w+(?: error:)? out of memory[^.]*|Unable to allocate [^.]*")
_RANK_LOST = re.compile(
    r"Connection (?:closed|reset) by|remote process exited|Broken pipe|Timed out waiting|[Tt]imeout"
)
_OF_RANKS = re.compile(r"gloo|NCCL|TCPStore")  # torch has a type for NCCL's alone

_LIBRARIES = ("lm_objectives", "lightning", "torch", "numpy", "pyarrow", "datasets", "fsspec", "wandb", "matplotlib")


def fault_message(error: BaseException) -> str | None:
    """The text of an error that the machine, or the course of a training, is to blame for; None for any other."""
    return next((message for cause in causes_of(error) if (message := _explain(cause)) is not None), None)


def has_diverged(error: BaseException) -> bool:
    """Whether it was the training's own course that ended it."""
    return any(isinstance(cause, NonFiniteError) for cause in causes_of(error))


def is_of_this_rank(error: BaseException) -> bool:
    """Whether other ranks cannot say what ended this one: they have only lost it."""
    return not any(isinstance(cause, RunError) or _is_rank_lost(cause) for cause in causes_of(error))


def of_worker(text: str) -> str:
    """The message of an error in a data worker, of which the main process gets the whole traceback as text."""
    found = _OF_WORKER.search(text)
    return found[2] if found else text


def causes_of(error: BaseException) -> list[BaseException]:
    """An error and those that it was raised from, the outermost first."""
    causes = [error]
    while (cause := causes[-1].__cause__) and cause not in causes:
        causes.append(cause)
    return causes


def _is_of_ranks(error: BaseException) -> bool:
    of_torch = isinstance(error, torch.distributed.DistError)
    return of_torch or (isinstance(error, RuntimeError) and _OF_RANKS.search(str(error)) is not None)


def _is_rank_lost(error: BaseException) -> bool:
    return _is_of_ranks(error) and _RANK_LOST.search(str(error)) is not None


def _modules(error: BaseException) -> list[str]:
    """The modules that an error came through, where it was raised last."""
    return [str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)]


def _is_of_users(error: BaseException) -> bool:
    """Whether an error was raised by code of a user's own, whose traceback is wanted."""
    packages = [module.partition(".")[0] for module in _modules(error)]
    others = [package for package in packages if package not in sys.stdlib_module_names]
    return bool(others) and others[-1] not in _LIBRARIES


def _worker_ended(found: str) -> str:
    advice = "often the system has no memory left: lower data.num_workers"
    return f"expected data workers to live, found that {found}: {advice}"


def _explain(error: BaseException) -> str | None:
    text = of_worker(str(error))
    line = " ".join(text.split()).rstrip(".!")
    if isinstance(error, RunError):
        return line
    if _is_rank_lost(error):
        return rank_ended("another has ended")
    if _is_of_ranks(error):
        return f"expected ranks that reach one another, found: {line}: check devices, MASTER_ADDR and MASTER_PORT"
    if isinstance(error, (RuntimeError, MemoryError)):
        memory = _NO_MEMORY.search(line)
        if memory or isinstance(error, (MemoryError, torch.OutOfMemoryError)):
            return (
                f"expected enough memory, found too little ({memory[0] if memory else 'none left'}): raise "
                "trainer.accumulate_grad_batches, which changes no result, or lower data.seq_len or data.num_workers"
            )
        if died := _WORKER_DIED.search(text):
            return _worker_ended(f"the one of process {died[1]} ended ({died[2].rstrip('. ')})")
    if isinstance(error, (ConnectionError, EOFError)) and "torch.utils.data.dataloader" in _modules(error):
        return _worker_ended("one ended while it handed over rows")  # before torch could see which
    if not isinstance(error, OSError) or isinstance(error, ConnectionError):
        return None
    if error.strerror and (error.errno in NO_ROOM or not _is_of_users(error)):
        return explain_os_error(error)
    return f"expected files that data workers can read, found {line}: put them back" if text != str(error) else None
