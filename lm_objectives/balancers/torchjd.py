"""Every TorchJD weighting, on the gradients of the whole step."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lm_objectives.balancers.base import Balancer, PerObjective, StepStatistics
from lm_objectives.errors import InputError

_CHUNK = 1 << 20  # gradient columns that are held in double precision at a time
_UNIT_TRACE = ("UPGrad", "DualProj", "CAGrad")  # scale-free, yet take a Gramian of trace below 1e-4 for zero


class TorchJD(Balancer):
    """Weights from the angles and lengths of the objectives' gradients over the backbone's layers.

        G = J Jᵀ  with J's rows the objectives' gradients,   w = weighting(G)

    The same weights then go to the other shared parameters, embeddings and the last norm, and to each head its own.

    Any aggregator of TorchJD that adds up gradients by weights serves, by its short name: UPGrad, MGDA, PCGrad, CAGrad,
    IMTLG, AlignedMTL, NashMTL, DualProj, FairGrad, GradVac, PCD, Krum, ExcessMTL, Mean, Sum, Random, Constant. Weights
    are as published: some sum to 1, some may be negative. One objective, or one alone in a step, weighs 1.

    Deferred: the pass runs with `weights`, all 1, and `update` returns the weights of that very step. Random weightings
    draw by (seed, step), the same on every rank and in every run. Rows of J go by the objectives' names, whatever their
    order. What a stateful weighting (NashMTL, GradVac, PCD, ExcessMTL) remembers is saved and resumed; it starts afresh
    when other objectives are trained than in the step before. ExcessMTL remembers as much as all gradients take.

        >>> import torch
        >>> from lm_objectives import StepStatistics, TorchJD
        >>> balancer = TorchJD("MGDA")
        >>> balancer.setup(["causal", "order"], torch.tensor([8.0, 0.7]), steps=100)
        >>> gradients = torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])  # of each loss over all layers
        >>> balancer.update(StepStatistics(0, torch.tensor([8.0, 0.7]), torch.tensor([True, True]), gradients))
        tensor([0.6000, 0.4000])

    Quinton and Rey, "Jacobian Descent for Multi-Objective Optimization", 2024; TorchJD's documentation names the paper
    of each weighting.

    Args:
        weighting: the aggregator's name; case, hyphens and underscores do not matter ("IMTL-G").
        arguments: what its constructor takes, for example {"c": 0.5} for CAGrad; a number for each objective is given
            by their names. NashMTL's `n_tasks` is known here.
        seed: which sequence of random draws, a whole number of at least 0.
        primary: name of the objective that PCD, which needs one, has the others serve; in a step without it that is the
            first by name.
    """

    needs = "all_layers"
    deferred = True

    def __init__(
        self,
        weighting: str = "UPGrad",
        arguments: dict[str, Any] | None = None,
        seed: int = 0,
        primary: str | None = None,
    ) -> None:
        super().__init__()
        self.expect(seed >= 0, "a seed of at least 0", seed, "use a whole number from 0 up")
        self.kind = find_aggregator(weighting)
        self.arguments = arguments or {}
        self.seed = seed
        self.primary = primary
        check_arguments(self.kind, self.arguments)
        self._weighting: dict[tuple[str, ...], Any] = {}  # the last one, by the objectives that it weighs
        self._loaded: dict[str, Any] = {}  # memory for the first one, from a checkpoint

    def initial_state(self, losses: PerObjective) -> dict[str, Tensor]:
        names, listed = self.names, ", ".join(self.names)
        for name, value in self.arguments.items():
            if isinstance(value, dict):
                found = f"some for {', '.join(value) or 'none'}"
                expected = f"{name} to have a number for each of {listed}"
                self.expect(set(value) == set(names), expected, found, "name just these")
        needed = self.kind.__name__ == "PCD" and len(names) > 1
        known = self.primary in (names if needed else (None, *names))
        mend = "set primary to the one that the others shall serve"
        self.expect(known, f"a primary objective among {listed}", self.primary or "none", mend)
        self._order = sorted(range(len(names)), key=lambda index: (names[index] != self.primary, names[index]))
        return {"weight": torch.ones_like(losses)}  # of the pass: a step's weights are known when its gradients are

    def update(self, statistics: StepStatistics) -> PerObjective:
        if statistics.gradients is None:
            raise InputError("TorchJD expects gradients over all layers, found none: pass what its `needs` names")
        weights = statistics.trained.to(self.weight)
        here = statistics.trained.tolist()
        chosen = [index for index in self._order if here[index]]
        if len(chosen) > 1:
            trained = tuple(self.names[index] for index in chosen)
            matrix = self._matrix(statistics.gradients, chosen)
            if trained not in self._weighting:
                weighting = make_weighting(self.kind, self.arguments, trained)
                if self._loaded.get("trained") == trained:
                    restore_memory(weighting, self._loaded["memory"], matrix.device)
                self._weighting, self._loaded = {trained: weighting}, {}
            with torch.random.fork_rng([matrix.device] if matrix.is_cuda else []), torch.no_grad():
                draw = int(np.random.SeedSequence([self.seed, statistics.step]).generate_state(1)[0])
                torch.default_generator.manual_seed(draw)
                if matrix.is_cuda:
                    torch.cuda.manual_seed(draw)
                weights[chosen] = self._weighting[trained](matrix).to(weights)
        return weights

    def _matrix(self, gradients: Float[Tensor, "objectives parameters"], chosen: list[int]) -> Tensor:
        """What the weighting reads: the Gramian of the chosen objectives' gradients, or these gradients."""
        if not reads_gramian(self.kind):
            return gradients if chosen == list(range(len(gradients))) else gradients[chosen]
        gramian = compute_gramian(gradients)[chosen][:, chosen].cpu()
        scale = gramian.trace()
        return gramian / scale if self.kind.__name__ in _UNIT_TRACE and scale > 0 else gramian

    def get_extra_state(self) -> dict[str, Any]:
        """The objectives that the weighting weighed last and what it remembers, as plain data."""
        for trained, weighting in self._weighting.items():
            return {"trained": trained, "memory": read_memory(weighting)}
        return self._loaded

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Go on from what `get_extra_state` gave."""
        self._weighting, self._loaded = {}, state


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
    make_weighting(kind, arguments)


def make_weighting(kind: type, arguments: Mapping[str, Any], trained: Sequence[str] = ()) -> Any:
    """The aggregator's weighting for the trained objectives, or one on trial where these are not known yet."""
    ready = dict(arguments)
    try:
        for name, value in arguments.items():
            if isinstance(value, dict):
                ready[name] = torch.tensor([value[member] for member in trained or value], dtype=torch.double)
        if "n_tasks" in inspect.signature(kind).parameters:
            ready["n_tasks"] = len(trained) or 2
        aggregator = kind(**ready)
    except ImportError as error:  # its message names the extra to install
        raise InputError(f"TorchJD expects the packages of {kind.__name__}, found some missing: {error}") from error
    except (TypeError, ValueError) as error:
        raise InputError(f"TorchJD expects arguments that {kind.__name__} takes, found {arguments}: {error}") from error
    return aggregator.gramian_weighting if reads_gramian(kind) else aggregator.weighting


def reads_gramian(kind: type) -> bool:
    """Whether an aggregator's weights come from inner products of gradients, not from the gradients themselves."""
    return "GramianWeightedAggregator" in (base.__name__ for base in kind.__mro__)


def read_memory(weighting: Any) -> dict[str, Any]:
    """What a weighting remembers between steps: tensors, numbers, and tuples of these, dtypes and devices."""
    if not hasattr(weighting, "reset"):  # TorchJD's mark of a stateful weighting
        return {}
    values = vars(weighting) | dict(weighting.named_buffers())
    arrays = {name: torch.tensor(value) for name, value in values.items() if isinstance(value, np.ndarray)}
    kept = {name: value for name, value in values.items() if isinstance(value, (Tensor, int, float, tuple))}
    return arrays | {name: value.clone() if isinstance(value, Tensor) else value for name, value in kept.items()}


def restore_memory(weighting: Any, memory: Mapping[str, Any], device: torch.device) -> None:
    """Give a new weighting the memory of an old one, which may have lived on another device."""
    for name, value in memory.items():
        if isinstance(value, Tensor):
            old = getattr(weighting, name)
            value = value.cpu().numpy().copy() if isinstance(old, np.ndarray) else value.to(device, copy=True)
        elif isinstance(value, tuple):
            value = tuple(device if isinstance(item, torch.device) else item for item in value)
        setattr(weighting, name, value)
    if hasattr(weighting, "_init_optim_problem"):  # NashMTL poses its problem at its first call alone
        weighting._init_optim_problem()


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "").replace(" ", "").removesuffix("weighting")
