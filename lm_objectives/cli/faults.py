"""What is said of a run that the machine ends: a full disk, too little memory, a data worker or a rank that died."""

import re

import torch

from lm_objectives.cli.ranks import rank_ended
from lm_objectives.errors import RunError
from lm_objectives.files import explain_os_error

_OF_WORKER = re.compile(r"Caught (\w+) in DataLoader worker process \d+\..*\n\1: (.*)", re.DOTALL)
_WORKER_DIED = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (.*)")
_NO_MEMORY = re.compile(r"DefaultCPUAllocator: [^.]*|\w+ out of memory[^.]*|Unable to allocate [^.]*")
_RANK_LOST = re.compile(r"gloo|NCCL|Connection (?:closed|reset) by|Broken pipe")  # torch has a type for NCCL alone


def fault_message(error: BaseException) -> str | None:
    """The text of an error that the machine, or the course of a training, is to blame for; None for any other."""
    return next((message for cause in _causes(error) if (message := _explain(cause)) is not None), None)


def is_of_this_rank(error: BaseException) -> bool:
    """Whether other ranks cannot say what ended this one: they have only lost it."""
    return not any(isinstance(cause, RunError) or _is_rank_lost(cause) for cause in _causes(error))


def of_worker(text: str) -> str:
    """The message of an error in a data worker, of which the main process gets the whole traceback as text."""
    found = _OF_WORKER.search(text)
    return found[2] if found else text


def _causes(error: BaseException) -> list[BaseException]:
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) and cause not in causes:
        causes.append(cause)
    return causes


def _is_rank_lost(error: BaseException) -> bool:
    lost = isinstance(error, torch.distributed.DistError)
    return lost or (isinstance(error, RuntimeError) and _RANK_LOST.search(str(error)) is not None)


def _explain(error: BaseException) -> str | None:
    text = of_worker(str(error))
    line = " ".join(text.split()).rstrip(".!")
    if isinstance(error, RunError):
        return line
    if _is_rank_lost(error):
        return rank_ended("another has ended")
    memory = _NO_MEMORY.search(line)
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or memory:
        return (
            f"expected enough memory, found too little ({memory[0] if memory else 'none left'}): raise "
            "trainer.accumulate_grad_batches, which changes no result, or lower data.seq_len or data.num_workers"
        )
    if isinstance(error, RuntimeError) and (died := _WORKER_DIED.search(text)):
        return (
            f"expected data workers to live, found that the one of process {died[1]} ended ({died[2].rstrip('. ')}): "
            "often the system has no memory left: lower data.num_workers"
        )
    if isinstance(error, OSError) and error.strerror and not isinstance(error, ConnectionError):
        return explain_os_error(error)
    if isinstance(error, OSError) and text != str(error):
        return f"expected files that data workers can read, found {line}: put them back"
    return None
