"""A schedule of weights that is given before training."""

import math
from collections.abc import Mapping
from typing import get_args

import torch
from torch import Tensor

from lm_objectives.balancers.base import PerObjective
from lm_objectives.balancers.curriculum import PacingFunction
from lm_objectives.ranges import is_within
from lm_objectives.schedules import Interpolation, Points, check_points, interpolate, points_at_steps


class Stages(PacingFunction):
    """Each objective's factor follows the points of a schedule over the training.

        {"causal": [[0, 1.0]], "order": [[0.2, 0.0], [0.5, 1.0]]}      order is out for the first fifth of the
                                                                      training, then comes in until half of it

    Between two points (a, u) and (b, v), with x = (step - a) / (b - a):

        linear   u + (v - u) x
        cosine   u + (v - u) (1 - cos πx) / 2
        step     u

        >>> import torch
        >>> from lm_objectives import Stages
        >>> pace = Stages({"order": [[0.2, 0.0], [0.5, 1.0]]})
        >>> pace.setup(["causal", "order"], torch.tensor([8.0, 0.7]), steps=100)
        >>> pace.factors(20), pace.factors(35)
        (tensor([1., 0.]), tensor([1.0000, 0.5000]))

    Before its first point an objective has the first point's factor, after its last the last one's; one without points
    has 1 throughout. A pure function of the step.

    Args:
        points: by objective, pairs [when, factor] in the order of time. `when` is an optimizer step, a whole number
            from 0 to the training's length, or a fraction of the training, a number with a point from 0.0 to 1.0;
            `factor` is at least 0, and 0 keeps the objective out.
        between: how the factor goes from one point to the next, "linear", "cosine" or "step".
    """

    def __init__(self, points: Mapping[str, Points], between: Interpolation = "linear") -> None:
        super().__init__()
        self.expect(between in get_args(Interpolation), "between to be linear, cosine or step", between, "choose one")
        for name, pairs in points.items():
            check_points(pairs, self._check_factor, f"Stages of {name}")
        self.points = points
        self.between = between

    def initial_state(self, losses: PerObjective) -> dict[str, Tensor]:
        self.check_known(self.points, "points")
        self.placed = {
            name: points_at_steps(pairs, self.steps, f"Stages of {name}") for name, pairs in self.points.items()
        }
        return {}

    def factors(self, step: int) -> PerObjective:
        return torch.tensor(
            [interpolate(self.placed[name], step, self.between) if name in self.placed else 1.0 for name in self.names]
        )

    def change_steps(self) -> list[int]:
        # A factor is 0 throughout an open interval or nowhere in it: one step of each interval tells.
        steps = {math.floor(when) + after for pairs in self.placed.values() for when, _ in pairs for after in (0, 1)}
        return sorted(step for step in steps | {0} if step == 0 or self.steps < 0 or step < self.steps)

    def _check_factor(self, factor: float) -> None:
        self.expect(is_within(factor, 0), "factors of at least 0", factor, "use 0 to keep an objective out")
