"""`RandomWeights` against what its distribution must look like, and against itself."""

import pytest
import torch

from lm_objectives.balancers import RandomWeights


def built(seed: int = 0) -> RandomWeights:
    balancer = RandomWeights(seed)
    balancer.setup(("causal", "masked", "order"), torch.ones(3), 10)
    return balancer


def test_weights_are_a_pure_function_of_seed_and_step() -> None:
    first, second = built(), built()
    later = [first.weights(step) for step in (5, 3)]
    assert torch.equal(later[1], second.weights(3))
    assert not torch.equal(first.weights(3), first.weights(4))
    assert not torch.equal(first.weights(3), built(seed=1).weights(3))


def test_drawing_leaves_the_global_stream_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    built().weights(2)
    assert torch.equal(torch.rand(1), expected)


def test_log_ratios_are_differences_of_standard_normals() -> None:
    balancer = built()
    weights = torch.stack([balancer.weights(step) for step in range(4000)])
    ratio = torch.log(weights[:, 0] / weights[:, 1])
    assert ratio.mean().item() == pytest.approx(0, abs=0.08)
    assert ratio.var().item() == pytest.approx(2, abs=0.2)
    torch.testing.assert_close(weights.mean(0), torch.ones(3), atol=0.05, rtol=0)


def test_a_negative_seed_is_one_clear_line() -> None:
    with pytest.raises(ValueError, match="a seed of at least 0, found -1"):
        RandomWeights(-1)
