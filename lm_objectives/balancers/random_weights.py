"""Random loss weighting: the control for everything that adapts."""

import numpy as np
import torch

from lm_objectives.balancers.base import Balancer, PerObjective


class RandomWeights(Balancer):
    """Random loss weighting (RLW): fresh weights at each step, drawn from a softmax of standard normals.

        w = n · softmax(z),   z_i ~ N(0, 1)

    The paper's weights sum to 1; here to the number n of objectives, as under the other balancers, so that their mean
    of 1 keeps the size of the total. The draw z_i is a pure function of (seed, step, the objective's name): it has no
    state and is the same for every rank, micro-batch, resume and order of the objectives. Objectives absent from a step
    take their share of the draw all the same.

        >>> import torch
        >>> from lm_objectives import RandomWeights
        >>> balancer = RandomWeights(seed=3)
        >>> balancer.setup(["causal", "order"], torch.tensor([8.0, 0.7]), steps=100)
        >>> balancer.weights(0), balancer.weights(1)
        (tensor([0.9002, 1.0998]), tensor([0.3325, 1.6675]))

    Lin et al., "Reasonable Effectiveness of Random Weighting: A Litmus Test for Multi-Task Learning", TMLR 2022,
    section 3.

    Args:
        seed: which sequence of weights, a whole number of at least 0.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.expect(seed >= 0, "a seed of at least 0", seed, "use a whole number from 0 up")
        self.seed = seed

    def weights(self, step: int) -> PerObjective:
        draws = [np.random.default_rng([self.seed, step, *name.encode()]).standard_normal() for name in self.names]
        normals = torch.tensor(draws, dtype=torch.double)
        return normals.softmax(0).mul(len(self.names)).to(self.initial_losses)
