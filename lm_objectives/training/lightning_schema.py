"""What Lightning keeps in a checkpoint, as far as a run that goes on reads it; `schema` has the whole."""

from typing import Annotated, Any, Literal, NotRequired

from packaging.version import Version
from pydantic import AfterValidator, Field, InstanceOf
from torch import Tensor
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

_Count = Annotated[int, Field(ge=0)]
_Number = float | InstanceOf[Tensor]


def _check_version(version: str) -> str:
    try:
        Version(version)
    except ValueError:
        raise ValueError("a version such as 2.6.0") from None
    return version


def _check_numbers(state: dict[str, Any]) -> dict[str, Any]:
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    if sorted(numbers) != list(range(len(numbers))) or not state["state"].keys() <= set(numbers):
        raise ValueError("the state of parameters that are numbered from 0 on")
    return state


class _Counts(TypedDict):
    ready: _Count
    completed: _Count


class _StartedCounts(_Counts):
    started: _Count


class _BatchCounts(_StartedCounts):
    processed: _Count


class _Progress(TypedDict):
    total: _Counts
    current: _Counts


class _StartedProgress(TypedDict):
    total: _StartedCounts
    current: _StartedCounts


class _EpochProgress(TypedDict):
    total: _BatchCounts
    current: _BatchCounts


class _BatchProgress(_EpochProgress):
    is_last_batch: bool


class _OptimizerProgress(TypedDict):
    step: _Progress
    zero_grad: _StartedProgress


class _Optimizers(TypedDict):
    optimizer: _OptimizerProgress


class _Steps(TypedDict):
    _batches_that_stepped: _Count


class _Loaders(TypedDict):
    combined_loader: NotRequired[list[dict[str, Any]]]


_FitLoop = TypedDict(
    "_FitLoop",
    {
        "state_dict": _Loaders,
        "epoch_progress": _EpochProgress,
        "epoch_loop.state_dict": _Steps,
        "epoch_loop.batch_progress": _BatchProgress,
        "epoch_loop.scheduler_progress": _Progress,
        "epoch_loop.automatic_optimization.optim_progress": _Optimizers,
        "epoch_loop.manual_optimization.optim_step_progress": _Progress,
        "epoch_loop.val_loop.batch_progress": _BatchProgress,
    },
)


class _ValidateLoop(TypedDict):
    state_dict: dict[str, Any]
    batch_progress: _BatchProgress


class Loops(TypedDict):
    fit_loop: _FitLoop
    validate_loop: _ValidateLoop


class _Group(TypedDict):
    params: list[_Count]
    lr: _Number


class _Optimizer(TypedDict):
    state: dict[_Count, dict[str, Any]]
    param_groups: list[_Group]


class _Scheduler(TypedDict):
    base_lrs: list[_Number]
    last_epoch: _Count
    lr_lambdas: NotRequired[list[None]]
    _anneal_strategy: NotRequired[Literal["cos", "linear"]]  # of the schedule that averaging weights puts in its place
    _step_count: _Count
    _last_lr: list[_Number]


def _check_kind(scheduler: dict[str, Any]) -> dict[str, Any]:
    if not scheduler.keys() & {"lr_lambdas", "_anneal_strategy"}:
        raise ValueError("a schedule with lr_lambdas")
    return scheduler


Scheduler = Annotated[_Scheduler, AfterValidator(_check_kind)]
Optimizer = Annotated[_Optimizer, AfterValidator(_check_numbers)]
LightningVersion = TypedDict(
    "LightningVersion", {"pytorch-lightning_version": Annotated[str, AfterValidator(_check_version)]}
)
