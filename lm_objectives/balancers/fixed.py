"""Weights that somebody chose: the control that every other balancer has to beat."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lm_objectives.balancers.base import Balancer
from lm_objectives.errors import InputError


class Fixed(Balancer):
    """The same weights at every step; tuned, they match what adaptive balancers reach (Kurin et al. 2022).

        w_i = weights[i]

    A single objective keeps the weight it was given. An objective of weight 0 is not trained and reads no rows.

    Kurin et al., "In Defense of the Unitary Scalarization for Deep Multi-Task Learning", NeurIPS 2022;
    Xin et al., "Do Current Multi-Task Optimization Methods in Deep Learning Even Help?", NeurIPS 2022.

    Args:
        weights: each objective's weight by its name, at least 0 and not all 0; without them each weighs 1.
    """

    weight: Tensor

    def __init__(self, weights: dict[str, float] | None = None) -> None:
        super().__init__()
        self.chosen = weights

    def setup(self, names: Sequence[str], initial_losses: Float[Tensor, " objectives"], steps: int) -> None:
        super().setup(names, initial_losses, steps)
        chosen = dict.fromkeys(names, 1.0) if self.chosen is None else self.chosen
        if set(chosen) != set(names):
            raise InputError(
                f"Fixed expects one weight for each of {', '.join(names)}, found weights for "
                f"{', '.join(chosen) or 'none'}: name just these, or leave the weights out to have 1 for each"
            )
        for name, value in chosen.items():
            if not 0 <= value < math.inf:
                raise InputError(
                    f"Fixed expects weights of at least 0, found {value} for {name}: use 0 to leave an objective out"
                )
        if not any(chosen.values()):
            raise InputError("Fixed expects a weight above 0, found only zeros: give one objective a weight above 0")
        weight = torch.tensor([chosen[name] for name in names]).to(initial_losses)
        self.register_buffer("weight", weight, persistent=False)  # configuration, not state

    def weights(self, step: int) -> Float[Tensor, " objectives"]:
        del step
        return self.weight

    def active(self, step: int) -> Bool[Tensor, " objectives"]:
        del step
        return self.weight.cpu() > 0
