"""A schedule of weights, written down before the training."""

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lm_objectives.balancers.curriculum import PacingFunction
from lm_objectives.errors import InputError
from lm_objectives.schedules import Interpolation, Points, check_points, interpolate, points_at_steps


class Stages(PacingFunction):
    """Each objective's factor follows the points of a schedule over the training.

        {"causal": [[0, 1.0]], "order": [[0.2, 0.0], [0.5, 1.0]]}      order is out for the first fifth of the
                                                                      training, then comes in until half of it

    Between two points (a, u) and (b, v), with x = (step - a) / (b - a):

        linear   u + (v - u) x
        cosine   u + (v - u) (1 - cos πx) / 2
        step     u

    Before its first point an objective has the first point's factor, after its last the last one's; one without points
    has 1 throughout. A pure function of the step.

    Args:
        points: by objective, pairs [when, factor] in the order of time. `when` is an optimizer step, a whole number
            from 0 to the training's length, or a fraction of the training, a number with a point from 0.0 to 1.0;
            `factor` is at least 0, and 0 keeps the objective out.
        between: how the factor goes from one point to the next, "linear", "cosine" or "step".
    """

    def __init__(
        self,
        points: Mapping[str, Points],
        between: Interpolation = "linear",
    ) -> None:
        super().__init__()
        if between not in ("linear", "cosine", "step"):
            raise InputError(f"Stages expects between to be linear, cosine or step, found {between}: choose one")
        for name, pairs in points.items():
            check_points(pairs, _check_factor, f"Stages of {name}")
        self.points = points
        self.between = between

    def setup(self, names: Sequence[str], initial_losses: Float[Tensor, " objectives"], steps: int) -> None:
        super().setup(names, initial_losses, steps)
        self.placed: dict[str, list[tuple[float, float]]] = {}
        for name, pairs in self.points.items():
            if name not in names:
                raise InputError(
                    f"Stages expects points for objectives among {', '.join(names)}, found {name}: correct the name"
                )
            self.placed[name] = points_at_steps(pairs, steps, f"Stages of {name}")

    def factors(self, step: int) -> Float[Tensor, " objectives"]:
        return torch.tensor(
            [interpolate(self.placed[name], step, self.between) if name in self.placed else 1.0 for name in self.names]
        )

    def change_steps(self) -> list[int]:
        # A factor is 0 throughout an open interval or nowhere in it: one step of each interval tells.
        steps = {math.floor(when) + beside for pairs in self.placed.values() for when, _ in pairs for beside in (0, 1)}
        return sorted(step for step in steps | {0} if step == 0 or self.steps < 0 or step < self.steps)


def _check_factor(factor: float) -> None:
    if not 0 <= factor < math.inf:
        raise InputError(f"Stages expects factors of at least 0, found {factor}: use 0 to keep an objective out")
