"""Samples: as often as transformers' warpers say, and settings out of range."""

from typing import Any

import numpy as np
import pytest
import torch
from transformers import TemperatureLogitsWarper, TopPLogitsWarper

from lm_objectives.demo.generate import Sampling, greedy_token, nucleus, sample_token


@pytest.mark.parametrize("temperature", [0.3, 0.8, 1.0, 2.5])
@pytest.mark.parametrize("top_p", [0.01, 0.3, 0.9, 0.999, 1.0])
def test_nucleus_is_that_of_transformers(temperature: float, top_p: float) -> None:
    """Oracle: TemperatureLogitsWarper, then TopPLogitsWarper, whose nucleus is renormalised by softmax."""
    ids = torch.zeros(1, 1, dtype=torch.long)
    for seed in range(20):
        logits = 3 * torch.randn(50, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        warped = TopPLogitsWarper(top_p)(ids, TemperatureLogitsWarper(temperature)(ids, logits[None]))[0].softmax(0)
        weights, tokens = nucleus(logits, temperature, top_p)
        ours = torch.zeros_like(logits).index_copy(0, tokens, weights / weights.sum())
        torch.testing.assert_close(ours, warped)
        assert int((weights > 0).sum()) >= 1


@pytest.mark.parametrize(
    ("temperature", "top_p", "expected"),
    [
        (1.0, 1.0, [0.5, 0.3, 0.15, 0.05]),
        (1.0, 0.9, [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0]),  # .5 + .3 < .9 <= .5 + .3 + .15
        (1.0, 0.5, [1, 0, 0, 0]),
        (0.5, 1.0, [0.25 / 0.365, 0.09 / 0.365, 0.0225 / 0.365, 0.0025 / 0.365]),  # squares, renormalised
        (2.0, 0.01, [1, 0, 0, 0]),
    ],
)
def test_samples_come_as_often_as_the_nucleus_says(temperature: float, top_p: float, expected: list[float]) -> None:
    probabilities = torch.tensor([0.05, 0.5, 0.15, 0.3])  # tokens 1, 3, 2, 0 by rank
    generator, draws = torch.Generator().manual_seed(0), 3000
    samples = [sample_token(probabilities.log(), temperature, top_p, generator) for _ in range(draws)]
    frequency = np.bincount(samples, minlength=4)[[1, 3, 2, 0]] / draws
    sigma = np.sqrt(np.array(expected) * (1 - np.array(expected)) / draws)
    assert (np.abs(frequency - expected) <= 4 * sigma).all()


def test_a_seed_draws_the_same_and_greedy_does_not_draw() -> None:
    logits = torch.tensor([0.0, 0.3, 0.1, 0.3])

    def drawn(**settings: Any) -> list[int]:
        choose = Sampling(top_p=1.0, **settings).token_sampler()
        return [choose(logits) for _ in range(20)]

    assert drawn(seed=1) == drawn(seed=1) != drawn(seed=2)
    assert drawn(seed=1, greedy=True) == drawn(seed=2, greedy=True, temperature=5.0) == [1] * 20
    assert greedy_token(logits) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tokens": 0}, "expected at least 1 token to continue with, found 0"),
        ({"temperature": 0.0}, r"expected a temperature above 0, found 0\.0"),
        ({"temperature": float("nan")}, "expected a temperature above 0, found nan"),
        ({"top_p": 0.0}, r"expected top_p above 0 and at most 1, found 0\.0"),
        ({"top_p": 1.5}, r"expected top_p above 0 and at most 1, found 1\.5"),
    ],
)
def test_settings_out_of_range_are_one_clear_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampling(**settings)
