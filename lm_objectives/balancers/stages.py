"""A schedule of weights, written down before the training."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lm_objectives.balancers.pace import Pace, fraction_to_step


class Stages(Pace):
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
        points: Mapping[str, Sequence[Sequence[int | float]]],
        between: Literal["linear", "cosine", "step"] = "linear",
    ) -> None:
        super().__init__()
        if between not in ("linear", "cosine", "step"):
            raise ValueError(f"Stages expects between to be linear, cosine or step, found {between}: choose one")
        for name, pairs in points.items():
            _check(name, pairs)
        self.points = points
        self.between = between

    def build(self, names: Sequence[str], initial_losses: Float[Tensor, " objectives"], steps: int) -> None:
        super().build(names, initial_losses, steps)
        self.placed: dict[str, list[tuple[float, float]]] = {}
        for name, pairs in self.points.items():
            if name not in names:
                raise ValueError(
                    f"Stages expects points for objectives among {', '.join(names)}, found {name}: correct the name"
                )
            placed = [(fraction_to_step(when, steps, "Stages"), float(factor)) for when, factor in pairs]
            if 0 <= steps < placed[-1][0]:
                raise ValueError(
                    f"Stages expects every stage within the training's {steps} steps, found one of {name} at "
                    f"{pairs[-1][0]}: move it forward, or train longer"
                )
            if any(later <= earlier for (earlier, _), (later, _) in pairwise(placed)):
                raise ValueError(
                    f"Stages expects each point later than the one before, found {[list(p) for p in pairs]} for "
                    f"{name}: sort the points by time"
                )
            self.placed[name] = placed

    def factors(self, step: int) -> Float[Tensor, " objectives"]:
        return torch.tensor(
            [interpolate(self.placed[name], step, self.between) if name in self.placed else 1.0 for name in self.names]
        )

    def changes(self) -> list[int]:
        # A factor is 0 throughout an open interval or nowhere in it: one step of each interval tells.
        steps = {math.floor(when) + beside for pairs in self.placed.values() for when, _ in pairs for beside in (0, 1)}
        return sorted(step for step in steps | {0} if step == 0 or self.steps < 0 or step < self.steps)


def interpolate(points: Sequence[tuple[float, float]], step: int, between: str) -> float:
    """The schedule's factor at a step; the points are (step, factor), in the order of time."""
    if step <= points[0][0]:
        return points[0][1]
    for (start, low), (end, high) in pairwise(points):
        if step < end:
            x = (step - start) / (end - start)
            rise = {"linear": x, "cosine": (1 - math.cos(math.pi * x)) / 2, "step": 0.0}[between]
            return low + (high - low) * rise
    return points[-1][1]


def _check(name: str, pairs: Sequence[Sequence[int | float]]) -> None:
    """Refuses points that no objective and no training could have."""
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise ValueError(
            f"Stages expects pairs [when, factor] for {name}, found {pairs}: write for example [[0, 0.0], [0.5, 1.0]]"
        )
    for when, factor in pairs:
        if not (0 <= when < math.inf and (isinstance(when, int) or when <= 1)):
            raise ValueError(
                f"Stages expects `when` as a whole optimizer step or as a fraction from 0.0 to 1.0, found {when} for "
                f"{name}: write steps without a point"
            )
        if not 0 <= factor < math.inf:
            raise ValueError(f"Stages expects factors of at least 0, found {factor} for {name}: use 0 to keep it out")
