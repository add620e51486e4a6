"""What this machine has for the runs of a study: CPU threads and CUDA devices."""

import os

import torch


def threads_of(jobs: int) -> int:
    """CPU threads of each of so many runs at a time."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        cores = os.cpu_count() or 1
    return max(cores // jobs, 1)


def visible_devices() -> list[str]:
    """The CUDA devices of this process, as `CUDA_VISIBLE_DEVICES` names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name.strip()]
    return [str(number) for number in range(torch.cuda.device_count())]
