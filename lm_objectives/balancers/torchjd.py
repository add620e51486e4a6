"""Every TorchJD weighting, on the gradients of the whole step."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lm_objectives.balancers.base import Balancer, StepStatistics
from lm_objectives.balancers.torchjd_weighting import Weighting, check_arguments, find_aggregator
from lm_objectives.errors import InputError


class TorchJD(Balancer):
    """Weights from the angles and lengths of the objectives' gradients over the backbone's blocks.

        G = J Jᵀ  with J's rows the objectives' gradients,   w = weighting(G)

    The same weights then go to the other shared parameters, embeddings and the last norm, and to each head its own.

    Any aggregator of TorchJD that adds up gradients by weights serves, by its short name: UPGrad, MGDA, PCGrad, CAGrad,
    IMTLG, AlignedMTL, NashMTL, DualProj, FairGrad, GradVac, PCD, Krum, ExcessMTL, Mean, Sum, Random, Constant. Weights
    are as published: some sum to 1, some may be negative. One objective, or one alone in a step, weighs 1.

    Deferred: the pass runs with `weights`, all 1, and `update` returns the weights of that very step. The last ones are
    kept in `last_weights` for the log. Random weightings draw by (seed, step), the same on every rank and in every run.
    Rows of J go by the objectives' names, whatever order they are told in. What a stateful weighting (NashMTL, GradVac,
    PCD, ExcessMTL) remembers is saved and resumed; it starts afresh when other objectives are present than in the step
    before. ExcessMTL remembers as much as all gradients take.

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
    last_weights: Tensor

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
        self._present: list[str] = []
        self._weighting: Weighting | None = None
        self._memory: dict[str, Any] = {}  # loaded, for the weighting of the next step

    def setup(self, names: Sequence[str], initial_losses: Float[Tensor, " objectives"], steps: int) -> None:
        super().setup(names, initial_losses, steps)
        self.register_buffer("last_weights", torch.ones_like(initial_losses))
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

    def weights(self, step: int) -> Float[Tensor, " objectives"]:
        """All 1: the weights of a step are known when its gradients are, and `update` returns them."""
        del step
        return torch.ones_like(self.last_weights)

    def update(self, totals: StepStatistics) -> Float[Tensor, " objectives"]:
        if totals.gradients is None:
            raise InputError("TorchJD expects gradients over all layers, found none: pass what its `needs` names")
        weights = totals.trained.to(self.last_weights)
        here = totals.trained.tolist()
        chosen = [index for index in self._order if here[index]]
        if len(chosen) > 1:
            present = [self.names[index] for index in chosen]
            if self._weighting is None or present != self._present:
                memory = self._memory if present == self._present else {}
                self._weighting = Weighting(self.kind, self.arguments, present, memory)
                self._present = present
            draw = int(np.random.SeedSequence([self.seed, totals.step]).generate_state(1)[0])
            weights[chosen] = self._weighting(totals.gradients, chosen, draw).to(weights)
        self.last_weights = weights
        return weights

    def get_extra_state(self) -> dict[str, Any]:
        """Whom the weighting weighed last and what it remembers, as plain data."""
        memory = self._memory if self._weighting is None else self._weighting.memory()
        return {"present": self._present, "memory": memory}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Go on from what `get_extra_state` gave."""
        self._present, self._memory, self._weighting = state["present"], state["memory"], None
