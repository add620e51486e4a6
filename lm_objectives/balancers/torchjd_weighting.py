"""One TorchJD weighting: found by name, made for the present objectives, its memory kept as plain data."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lm_objectives.errors import InputError

_CHUNK = 1 << 20  # gradient columns that are held in double precision at a time
_UNIT_TRACE = ("UPGrad", "DualProj", "CAGrad")  # scale-free, yet take a Gramian of trace below 1e-4 for zero


class Weighting:
    """A TorchJD weighting for one set of present objectives.

    Args:
        kind: TorchJD's aggregator class, from `find_kind`.
        arguments: its constructor's; a dictionary has a number for each objective by its name.
        present: names of the objectives that it weighs, in its order.
        memory: what `memory` of an equal weighting gave, to go on from there; empty to start afresh.
    """

    def __init__(
        self, kind: type, arguments: Mapping[str, Any], present: Sequence[str], memory: Mapping[str, Any]
    ) -> None:
        from torchjd.aggregation import GramianWeightedAggregator

        aggregator = _make(kind, arguments, present)
        self.reads_gramian = isinstance(aggregator, GramianWeightedAggregator)
        self.module = aggregator.gramian_weighting if self.reads_gramian else aggregator.weighting
        self.normalizes = kind.__name__ in _UNIT_TRACE
        self.loaded = memory

    def __call__(
        self, gradients: Float[Tensor, "objectives parameters"], chosen: Sequence[int], draw: int
    ) -> Float[Tensor, " present"]:
        """Weights of the present objectives; random numbers are those of seed `draw`, other streams do not notice.

        Args:
            gradients: of all objectives.
            chosen: which rows are those of the present, in their order.
            draw: seed of this step's random numbers.
        """
        matrix = self._statistic(gradients, list(chosen))
        if self.loaded:
            _recall(self.module, self.loaded, matrix.device)
            self.loaded = {}
        with torch.random.fork_rng([matrix.device] if matrix.is_cuda else []), torch.no_grad():
            torch.default_generator.manual_seed(draw)
            if matrix.is_cuda:
                torch.cuda.manual_seed(draw)
            return self.module(matrix)

    def memory(self) -> dict[str, Any]:
        """What the weighting remembers between steps: tensors, numbers, and tuples of these, dtypes and devices."""
        if self.loaded:
            return dict(self.loaded)
        if not hasattr(self.module, "reset"):  # TorchJD's mark of a stateful weighting
            return {}
        kept: dict[str, Any] = {}
        for name, value in {**vars(self.module), **dict(self.module.named_buffers())}.items():
            if isinstance(value, np.ndarray):
                kept[name] = torch.tensor(value)
            elif isinstance(value, Tensor):
                kept[name] = value.clone()
            elif isinstance(value, (int, float, tuple)):
                kept[name] = value
        return kept

    def _statistic(self, gradients: Float[Tensor, "objectives parameters"], chosen: list[int]) -> Tensor:
        """What the weighting reads: the present objectives' Gramian, or their gradients."""
        if not self.reads_gramian:
            return gradients if chosen == list(range(len(gradients))) else gradients[chosen]
        gramian = gramian_of(gradients)[chosen][:, chosen].cpu()
        scale = gramian.trace()
        return gramian / scale if self.normalizes and scale > 0 else gramian


def gramian_of(gradients: Float[Tensor, "objectives parameters"]) -> Float[Tensor, "objectives objectives"]:
    """J Jᵀ in double precision, whatever precision matrix products are allowed elsewhere."""
    device = torch.device("cpu") if gradients.device.type == "mps" else gradients.device  # mps has no doubles
    gramian = torch.zeros(len(gradients), len(gradients), dtype=torch.double, device=device)
    for columns in gradients.split(_CHUNK, dim=1):
        wide = columns.to(device).double()
        gramian += wide @ wide.T
    return gramian


def find_aggregator(name: str) -> type:
    """TorchJD's aggregator class of a short name; case, hyphens and underscores do not matter.

    Classes that make no weights from one step's gradients are not among them: ConFIG, GradDrop and TrimmedMean do not
    weigh whole gradients, MoDo and SDMGrad want two independent batches, CR-MOGM smooths another weighting.
    """
    try:
        from torchjd import aggregation
    except ImportError as error:
        raise InputError(
            'TorchJD expects the package torchjd, found none: install it with pip install "lm-objectives[torchjd]"'
        ) from error
    bases = (aggregation.WeightedAggregator, aggregation.GramianWeightedAggregator)
    kinds = {
        kind.__name__: kind
        for kind in (getattr(aggregation, exported) for exported in aggregation.__all__)
        if issubclass(kind, bases) and kind not in bases
    }
    for known, kind in kinds.items():
        if _plain(known) == _plain(name):
            return kind
    raise InputError(f"TorchJD expects a weighting among {', '.join(kinds)}, found {name}: correct the name")


def check_arguments(kind: type, arguments: Mapping[str, Any]) -> None:
    """Refuses arguments that the weighting cannot be made with, before any step needs it."""
    parameters = dict(inspect.signature(kind).parameters)
    parameters.pop("n_tasks", None)
    required = [name for name, parameter in parameters.items() if parameter.default is parameter.empty]
    wrong = [name for name in arguments if name not in parameters]
    missing = [name for name in required if name not in arguments]
    if wrong or missing:
        raise InputError(
            f"TorchJD expects arguments of {kind.__name__} among {', '.join(parameters) or 'none'}, found "
            f"{', '.join(arguments) or 'none'}: "
            + (f"add {', '.join(missing)}" if missing else f"leave {', '.join(wrong)} out")
        )
    for name, value in arguments.items():
        if isinstance(value, (list, tuple)):
            raise InputError(
                f"TorchJD expects {name} by the objectives' names, found {list(value)}: write "
                "{name of an objective: number, …}"
            )
    _make(kind, arguments, None)


def _make(kind: type, arguments: Mapping[str, Any], present: Sequence[str] | None) -> Any:
    """The aggregator for the present objectives, or one on trial where it is not known who they are."""
    ready = dict(arguments)
    for name, value in arguments.items():
        if isinstance(value, dict):
            members = value if present is None else present
            ready[name] = torch.tensor([value[member] for member in members], dtype=torch.double)
    if "n_tasks" in inspect.signature(kind).parameters:
        ready["n_tasks"] = 2 if present is None else len(present)
    try:
        return kind(**ready)
    except ImportError as error:  # its message names the extra to install
        raise InputError(f"TorchJD expects the packages of {kind.__name__}, found some missing: {error}") from error


def _recall(module: Any, memory: Mapping[str, Any], device: torch.device) -> None:
    """Give a new weighting the memory of an old one, which may have lived on another device."""
    for name, value in memory.items():
        if isinstance(value, Tensor):
            old = getattr(module, name)
            value = value.cpu().numpy().copy() if isinstance(old, np.ndarray) else value.to(device, copy=True)
        elif isinstance(value, tuple):
            value = tuple(device if isinstance(item, torch.device) else item for item in value)
        setattr(module, name, value)
    if hasattr(module, "_init_optim_problem"):  # NashMTL poses its problem at its first call alone
        module._init_optim_problem()


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "").replace(" ", "").removesuffix("weighting")
