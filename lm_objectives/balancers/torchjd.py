"""Every TorchJD weighting, on the gradients of the whole step."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lm_objectives.balancers.base import Balancer, PerObjective, StepStatistics
from lm_objectives.balancers.torchjd_weighting import Weighting, check_arguments, find_aggregator
from lm_objectives.errors import InputError


class TorchJD(Balancer):
    """Weights from the angles and lengths of the objectives' gradients over the backbone's blocks.

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
        >>> gradients = torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])  # of each loss over all blocks
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
        if seed < 0:
            raise InputError(f"TorchJD expects a seed of at least 0, found {seed}: use a whole number from 0 up")
        self.kind = find_aggregator(weighting)
        self.arguments = arguments or {}
        self.seed = seed
        self.primary = primary
        check_arguments(self.kind, self.arguments)
        self._trained: list[str] = []
        self._weighting: Weighting | None = None
        self._memory: dict[str, Any] = {}  # loaded, for the weighting of the next step

    def initial_state(self, losses: PerObjective) -> dict[str, Tensor]:
        names = self.names
        for name, value in self.arguments.items():
            if isinstance(value, dict) and set(value) != set(names):
                raise InputError(
                    f"TorchJD expects {name} to have a number for each of {', '.join(names)}, found some for "
                    f"{', '.join(value) or 'none'}: name just these"
                )
        wanted = self.kind.__name__ == "PCD" and len(names) > 1
        if self.primary not in (names if wanted else (None, *names)):
            raise InputError(
                f"TorchJD expects a primary objective among {', '.join(names)}, found {self.primary or 'none'}: set "
                "primary to the one that the others shall serve"
            )
        self._order = sorted(range(len(names)), key=lambda index: (names[index] != self.primary, names[index]))
        return {"weight": torch.ones_like(losses)}  # of the pass: a step's weights are known when its gradients are

    def update(self, statistics: StepStatistics) -> PerObjective:
        if statistics.gradients is None:
            raise InputError("TorchJD expects gradients over all layers, found none: pass what its `needs` names")
        weights = statistics.trained.to(self.weight)
        here = statistics.trained.tolist()
        chosen = [index for index in self._order if here[index]]
        if len(chosen) > 1:
            trained, device = [self.names[index] for index in chosen], statistics.gradients.device
            if self._weighting is None or trained != self._trained:
                memory = self._memory if trained == self._trained else {}
                self._weighting = Weighting(self.kind, self.arguments, trained, memory, device)
                self._trained = trained
            draw = int(np.random.SeedSequence([self.seed, statistics.step]).generate_state(1)[0])
            weights[chosen] = self._weighting(statistics.gradients, chosen, draw).to(weights)
        return weights

    def get_extra_state(self) -> dict[str, Any]:
        """The objectives that the weighting weighed last and what it remembers, as plain data."""
        memory = self._memory if self._weighting is None else self._weighting.memory()
        return {"trained": self._trained, "memory": memory}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Go on from what `get_extra_state` gave."""
        self._trained, self._memory, self._weighting = state["trained"], state["memory"], None
