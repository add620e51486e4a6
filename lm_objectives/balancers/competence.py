"""Competence-based curriculum: competence grows with the square root of time."""

import math

import torch
from torch import Tensor

from lm_objectives.balancers.base import PerObjective
from lm_objectives.balancers.curriculum import PacingFunction
from lm_objectives.schedules import fraction_to_step


class Competence(PacingFunction):
    """An objective comes in once the model's assumed competence has reached its difficulty.

        c(t) = min(1, sqrt(t (1 - c0²) / T + c0²)),   d_i = (number of easier objectives) / n
        factor_i(t) = 1 if c(t) >= d_i, otherwise 0

    The first of n objectives has difficulty 0 and is always in, the last comes in when c reaches (n - 1) / n. The paper
    paces sentences by the rank of their difficulty; here the ranked things are the objectives. A pure function of the
    step.

        >>> import torch
        >>> from lm_objectives import Competence
        >>> pace = Competence(["causal", "order"], initial=0.1, duration=100)
        >>> pace.setup(["order", "causal"], torch.tensor([0.7, 8.0]), steps=200)
        >>> pace.factors(0), pace.factors(50)
        (tensor([0., 1.]), tensor([1., 1.]))

    Platanios et al., "Competence-based Curriculum Learning for Neural Machine Translation", NAACL 2019, section 2.2.

    Args:
        order: the objectives' names, the easiest first.
        initial: competence c0 at the start, above 0 and at most 1.
        duration: time T until the competence is 1: optimizer steps as a whole number of at least 1, or a fraction of
            the training as a number with a point, above 0.0 and at most 1.0.
    """

    def __init__(self, order: list[str], initial: float = 0.01, duration: int | float = 0.5) -> None:
        super().__init__()
        self.expect(0 < initial <= 1, "an initial competence above 0 and at most 1", initial, "try 0.01")
        self.expect(
            0 < duration < math.inf and (isinstance(duration, int) or duration <= 1),
            "a duration in whole optimizer steps or as a fraction up to 1.0",
            duration,
            "write steps without a point",
        )
        self.order = order
        self.initial = initial
        self.duration = duration

    def initial_state(self, losses: PerObjective) -> dict[str, Tensor]:
        self.difficulty = [rank / len(self.names) for rank in self.difficulty_ranks(self.order)]
        self.length = fraction_to_step(self.duration, self.steps, "Competence")
        return {}

    def factors(self, step: int) -> PerObjective:
        grown = step * (1 - self.initial**2) / self.length + self.initial**2 if self.length > 0 else 1.0
        return torch.tensor([float(hard <= min(1.0, math.sqrt(grown))) for hard in self.difficulty])
