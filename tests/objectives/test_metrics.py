"""Means of batches of different sizes."""

import math

import pytest
import torch

from lm_objectives.objectives.language_model import Perplexity
from lm_objectives.objectives.metrics import Mean


def test_batches_weigh_by_what_they_score() -> None:
    """Oracle: all values in one sum. A mean of the batches' means would be 3.5."""
    metric = Mean()
    metric.update(torch.tensor(2.0), weight=30)
    metric.update(torch.tensor([5.0, 5.0]), weight=torch.tensor([4, 6]))
    assert float(metric.compute()) == pytest.approx((2 * 30 + 5 * 10) / 40)
    metric.reset()
    metric.update(torch.tensor([1.0, 2.0, 6.0]))
    assert float(metric.compute()) == 3


def test_perplexity_is_that_of_all_positions() -> None:
    metric = Perplexity()
    metric.update(torch.tensor(2.0), torch.tensor(3))
    metric.update(torch.tensor(6.0), torch.tensor(1))
    assert float(metric.compute()) == pytest.approx(math.exp(3))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_values_are_summed_in_single_precision(dtype: torch.dtype) -> None:
    """Oracle: their mean. In half the sum would stop growing, or be infinite at the third batch."""
    metric = Mean().to(dtype)
    for _ in range(64):
        metric.update(torch.full((4096,), 6.5, dtype=dtype))
    assert float(metric.compute()) == 6.5


def test_a_nan_shows() -> None:
    metric = Mean()
    metric.update(torch.tensor([1.0, math.nan]))
    assert metric.compute().isnan()
