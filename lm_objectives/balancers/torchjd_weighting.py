"""A TorchJD weighting by its name, for the objectives that a step trained; its memory as plain data."""

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
    """A TorchJD weighting for one set of trained objectives.

    Args:
        kind: TorchJD's aggregator class, from `find_aggregator`.
        arguments: its constructor's; a dictionary has a number for each objective by its name.
        trained: names of the objectives that it weighs, in its order.
        memory: what `memory` of an equal weighting gave, to go on from there; empty to start afresh.
        device: where gradients are.
    """

    def __init__(
        self,
        kind: type,
        arguments: Mapping[str, Any],
        trained: Sequence[str],
        memory: Mapping[str, Any],
        device: torch.device,
    ) -> None:
        aggregator = _make_aggregator(kind, arguments, trained)
        self.reads_gramian = hasattr(aggregator, "gramian_weighting")
        self.module = getattr(aggregator, "gramian_weighting", aggregator.weighting)
        self.normalizes = kind.__name__ in _UNIT_TRACE
        if memory:
            _restore(self.module, memory, torch.device("cpu") if self.reads_gramian else device)

    def __call__(
        self, gradients: Float[Tensor, "objectives parameters"], chosen: list[int], draw: int
    ) -> Float[Tensor, " trained"]:
        """Weights of the trained objectives; random numbers are those of seed `draw`, other streams do not notice.

        Args:
            gradients: of all objectives.
            chosen: which rows are those of the trained, in their order.
            draw: seed of this step's random numbers.
        """
        if self.reads_gramian:
            matrix = compute_gramian(gradients)[chosen][:, chosen].cpu()
            scale = matrix.trace()
            matrix = matrix / scale if self.normalizes and scale > 0 else matrix
        else:
            matrix = gradients if chosen == list(range(len(gradients))) else gradients[chosen]
        with torch.random.fork_rng([matrix.device] if matrix.is_cuda else []), torch.no_grad():
            torch.default_generator.manual_seed(draw)
            if matrix.is_cuda:
                torch.cuda.manual_seed(draw)
            return self.module(matrix)

    def memory(self) -> dict[str, Any]:
        """What the weighting remembers between steps: tensors, numbers, and tuples of these, dtypes and devices."""
        if not hasattr(self.module, "reset"):  # TorchJD's mark of a stateful weighting
            return {}
        values = vars(self.module) | dict(self.module.named_buffers())
        arrays = {name: torch.tensor(value) for name, value in values.items() if isinstance(value, np.ndarray)}
        kept = {name: value for name, value in values.items() if isinstance(value, (Tensor, int, float, tuple))}
        return arrays | {name: value.clone() if isinstance(value, Tensor) else value for name, value in kept.items()}


def compute_gramian(gradients: Float[Tensor, "objectives parameters"]) -> Float[Tensor, "objectives objectives"]:
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
    kinds = {exported: getattr(aggregation, exported) for exported in aggregation.__all__}
    base, bases = aggregation.WeightedAggregator, ("WeightedAggregator", "GramianWeightedAggregator")
    named = {known: kind for known, kind in kinds.items() if issubclass(kind, base) and known not in bases}
    for known, kind in named.items():
        if _plain(known) == _plain(name):
            return kind
    raise InputError(f"TorchJD expects a weighting among {', '.join(named)}, found {name}: correct the name")


def check_arguments(kind: type, arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that the weighting cannot be made with, before any step needs it."""
    parameters = {name: p for name, p in inspect.signature(kind).parameters.items() if name != "n_tasks"}
    missing = [name for name, p in parameters.items() if p.default is p.empty and name not in arguments]
    wrong = [name for name in arguments if name not in parameters]
    if wrong or missing:
        mend = f"add {', '.join(missing)}" if missing else f"leave {', '.join(wrong)} out"
        raise InputError(
            f"TorchJD expects arguments of {kind.__name__} among {', '.join(parameters) or 'none'}, found "
            f"{', '.join(arguments) or 'none'}: {mend}"
        )
    for name, value in arguments.items():
        if isinstance(value, (list, tuple)):
            raise InputError(
                f"TorchJD expects {name} by the objectives' names, found {list(value)}: write "
                "{name of an objective: number, …}"
            )
    _make_aggregator(kind, arguments)


def _make_aggregator(kind: type, arguments: Mapping[str, Any], trained: Sequence[str] = ()) -> Any:
    """The aggregator for the trained objectives, or one on trial where these are not known yet."""
    ready = dict(arguments)
    for name, value in arguments.items():
        if isinstance(value, dict):
            ready[name] = torch.tensor([value[member] for member in trained or value], dtype=torch.double)
    if "n_tasks" in inspect.signature(kind).parameters:
        ready["n_tasks"] = len(trained) or 2
    try:
        return kind(**ready)
    except ImportError as error:  # its message names the extra to install
        raise InputError(f"TorchJD expects the packages of {kind.__name__}, found some missing: {error}") from error


def _restore(module: Any, memory: Mapping[str, Any], device: torch.device) -> None:
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
