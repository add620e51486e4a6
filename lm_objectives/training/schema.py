"""What a checkpoint has to hold: type and range of each key that is read, ours and Lightning's."""

import reprlib
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, NotRequired

import torch
from pydantic import AfterValidator, ConfigDict, Field, InstanceOf, JsonValue, TypeAdapter, ValidationError, with_config
from torch import Tensor
from transformers import CONFIG_MAPPING
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from lm_objectives.data.tokenizer import TOKENIZER_FILES
from lm_objectives.errors import InputError, expect
from lm_objectives.optim import LRSchedule
from lm_objectives.training.lightning_schema import LightningVersion, Loops, Optimizer, Scheduler

Use = Literal["module", "file", "resume"]
"""What a checkpoint is read for: what `Pretraining.on_load_checkpoint` needs, a model from a file, or to go on."""

_MEND = "use one as it was written"

_Count = Annotated[int, Field(ge=0)]
_AtLeastOne = Annotated[int, Field(ge=1)]
_Tensor = InstanceOf[Tensor]

# Validators of pydantic: what they raise is said as "expected KEY to be …".


def _check_family(model_type: str) -> str:
    if model_type not in CONFIG_MAPPING:
        raise ValueError("a model_type that transformers knows")
    return model_type


def _check_ids(vocabulary: dict[str, Any]) -> dict[str, Any]:
    ids = [vocabulary[name] for name in ("pad", "bos", "eos", "mask")] + vocabulary["special"] + vocabulary["added"]
    if max(ids + [number for _, number in vocabulary["named_tokens"]]) >= vocabulary["size"]:
        raise ValueError(f"ids below their size, {vocabulary['size']}")
    return vocabulary


def _check_counts(counts: Tensor) -> Tensor:
    if counts.dtype != torch.int64 or counts.ndim != 1 or bool((counts < 0).any()):
        raise ValueError("counts of at least 0, one-dimensional and of torch.int64")
    return counts


def _check_steps(entries: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
    steps = [step for step, _ in entries]
    if steps[:1] != [0] or steps != sorted(set(steps)):
        raise ValueError("entries of ascending steps, the first at 0")
    return entries


def _check_files(files: dict[str, str]) -> dict[str, str]:
    for name in files:
        if name not in TOKENIZER_FILES:
            raise ValueError(f"files of a tokenizer, which {name!r} is not")
    if TOKENIZER_FILES[0] not in files:
        raise ValueError(f"files of a tokenizer, {TOKENIZER_FILES[0]} among them")
    return files


def _check_tensors(state: dict[str, Any]) -> dict[str, Any]:
    for name, value in state.items():
        if not isinstance(value, Tensor) and not name.endswith("_extra_state"):  # a module's own, of any kind
            raise ValueError(f"tensors, which {name} is not")
    return state


def _check_schedule(arguments: dict[str, Any]) -> dict[str, Any]:
    try:
        LRSchedule(**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"settings of an LRSchedule ({error})") from error
    return arguments


def _check_flops(callbacks: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    flops = callbacks.get("Throughput", {"flops": 0}).get("flops")
    if type(flops) is not int or flops < 0:
        raise ValueError("states of callbacks, that of Throughput with flops of at least 0")
    return callbacks


class _Config(TypedDict):
    model_type: Annotated[str, AfterValidator(_check_family)]


class _Architecture(TypedDict):
    config: _Config
    tied: bool


@with_config(ConfigDict(strict=True, extra="forbid"))
class _Vocabulary(TypedDict):
    size: _AtLeastOne
    pad: _Count
    bos: _Count
    eos: _Count
    mask: _Count
    special: list[_Count]
    named_tokens: list[Annotated[tuple[str, _Count], Field(strict=False)]]  # a list is written
    added: list[_Count]


@with_config(ConfigDict(strict=True, extra="forbid"))
class _Pending(TypedDict):
    accumulate: _AtLeastOne
    logged: _Count
    row: dict[str, float] | None
    validates: bool
    callback_metrics: dict[str, _Tensor]


class _Saved(TypedDict):
    architecture: _Architecture
    vocabulary: Annotated[_Vocabulary, AfterValidator(_check_ids)]
    seq_len: _AtLeastOne
    steps: Annotated[int, Field(ge=-1)]
    seed: Annotated[int, Field(ge=0, lt=2**64)]
    lr: Annotated[float, Field(gt=0)] | None
    tokens_read: _Count
    steps_skipped: _Count
    recent_skips: list[_Count]
    target_counts: dict[str, Annotated[_Tensor, AfterValidator(_check_counts)]]
    activity: Annotated[list[tuple[_Count, tuple[str, ...]]], AfterValidator(_check_steps)]
    pending: _Pending | None
    tokenizer: Annotated[dict[str, str], AfterValidator(_check_files)] | None
    cache: str | None
    experiment: dict[str, JsonValue] | None


_Callbacks = Annotated[dict[str, dict[str, Any]], AfterValidator(_check_flops)]


class _Plugin(TypedDict):
    class_path: str
    init_args: dict[str, Any]


class _HyperParameters(TypedDict):
    backbone: _Plugin
    objectives: dict[str, _Plugin]
    balancer: _Plugin
    optimizer: _Plugin | str  # a function's name
    lr_schedule: Annotated[dict[str, Any], AfterValidator(_check_schedule)]
    on_nonfinite: Literal["skip", "stop"]
    _instantiator: NotRequired[None]  # a function by its path, which Lightning would call


@with_config(ConfigDict(strict=True))
class _Module(TypedDict):
    lm_objectives: _Saved
    state_dict: Annotated[dict[str, Any], AfterValidator(_check_tensors)]


@with_config(ConfigDict(strict=True))
class _Run(_Module, LightningVersion):
    hyper_parameters: _HyperParameters
    global_step: _Count
    epoch: _Count
    loops: Loops
    hparams_name: NotRequired[Literal["kwargs"] | None]
    hparams_type: NotRequired[None]  # these three are Lightning's older names for hyper_parameters, and their type
    hparams: NotRequired[None]
    module_arguments: NotRequired[None]


@with_config(ConfigDict(strict=True))
class _File(_Run):
    callbacks: NotRequired[_Callbacks]  # not with weights alone


@with_config(ConfigDict(strict=True))
class _Resume(_Run):
    optimizer_states: Annotated[list[Optimizer], Field(min_length=1)]
    lr_schedulers: Annotated[list[Scheduler], Field(min_length=1)]
    callbacks: _Callbacks


@cache
def _adapter(use: Use) -> Any:
    return TypeAdapter({"module": _Module, "file": _File, "resume": _Resume}[use])


def check_schema(checkpoint: Mapping[str, Any], use: Use, where: str = "") -> None:
    """Raise where a checkpoint lacks a key, or holds one of another type or out of its range.

    Args:
        checkpoint: as Lightning loads it.
        use: what it is read for.
        where: " at PATH", for the message.

    Raises:
        InputError: which names the first such key.
    """
    if use == "resume" and "optimizer_states" not in checkpoint:
        raise InputError(
            f"expected a checkpoint with optimizer_states to go on from{where}, found one of weights alone: give one "
            "that was saved without save_weights_only; this one serves validate, demo and export"
        )
    try:
        _adapter(use).validate_python(checkpoint)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        key, expected = ".".join(map(str, fault["loc"])), " ".join(fault["msg"].split())
        if fault["type"] == "extra_forbidden":
            raise InputError(f"expected no {key} in the checkpoint{where}, found one: {_MEND}") from error
        if fault["type"] == "missing":
            raise InputError(f"expected {key} in the checkpoint{where}, found none: {_MEND}") from error
        expected = expected.removeprefix("Value error, ").removeprefix("Input should be ")
        others = fault["type"] == "value_error" and not isinstance(fault["input"], str)  # whose fault is said
        found = "another" if others else " ".join(reprlib.repr(fault["input"]).split())
        raise InputError(f"expected {key} in the checkpoint{where} to be {expected}, found {found}: {_MEND}") from error
    if use != "module":
        known, activity = checkpoint["hyper_parameters"]["objectives"], checkpoint["lm_objectives"]["activity"]
        read = {name for _, names in activity for name in names}
        expected = f"lm_objectives.activity in the checkpoint{where} to name its objectives, {', '.join(known)}"
        expect(read <= known.keys(), expected, ", ".join(sorted(read)), _MEND)
