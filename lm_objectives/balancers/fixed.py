"""Weights that are given: the control that every other balancer has to beat."""

import torch
from jaxtyping import Bool
from torch import Tensor

from lm_objectives.balancers.base import Balancer, PerObjective
from lm_objectives.ranges import is_within


class Fixed(Balancer):
    """The same weights at every step; tuned, they match what adaptive balancers reach (Kurin et al. 2022).

        w_i = weights[i]

    A single objective keeps the weight it was given. An objective of weight 0 is not trained and reads no rows.

        >>> import torch
        >>> from lm_objectives import Fixed
        >>> balancer = Fixed({"causal": 1.0, "order": 0.5})
        >>> balancer.setup(["causal", "order"], torch.tensor([8.0, 0.7]), steps=100)
        >>> balancer.weights(0)
        tensor([1.0000, 0.5000])

    Kurin et al., "In Defense of the Unitary Scalarization for Deep Multi-Task Learning", NeurIPS 2022;
    Xin et al., "Do Current Multi-Task Optimization Methods in Deep Learning Even Help?", NeurIPS 2022.

    Args:
        weights: each objective's weight by its name, at least 0 and not all 0; without them each weighs 1.
    """

    def __init__(self, weights: dict[str, float] | None = None) -> None:
        super().__init__()
        self.chosen = weights

    def initial_state(self, losses: PerObjective) -> dict[str, Tensor]:
        chosen = dict.fromkeys(self.names, 1.0) if self.chosen is None else self.chosen
        expected, found = f"one weight for each of {', '.join(self.names)}", ", ".join(chosen) or "none"
        mend = "name just these, or leave the weights out to have 1 for each"
        self.expect(set(chosen) == set(self.names), expected, f"weights for {found}", mend)
        for name, value in chosen.items():
            found = f"{value} for {name}"
            self.expect(is_within(value, 0), "weights of at least 0", found, "use 0 to leave an objective out")
        self.expect(any(chosen.values()), "a weight above 0", "only zeros", "give one objective a weight above 0")
        weight = torch.tensor([chosen[name] for name in self.names]).to(losses)
        self.register_buffer("weight", weight, persistent=False)  # configuration, which a checkpoint does not change
        return {}

    def active(self, step: int) -> Bool[Tensor, " objectives"]:
        return self.weight.cpu() > 0
