"""Sentence order and next sentence against the formula, by what their heads read."""

import math

import pytest
import torch
from utils import tiny

from lm_objectives.objectives import NextSentence, SentenceOrder


@pytest.mark.parametrize("family", ["llama", "bert", "gpt2"])
@pytest.mark.parametrize(
    "objective", [SentenceOrder(), SentenceOrder(pooling="difference"), NextSentence(pooling="distance")]
)
def test_is_the_formula(family: str, objective: SentenceOrder | NextSentence) -> None:
    """Oracle: a loop over rows, in double precision, with all gradients."""
    on = tiny.backbone(family).double()
    tiny.built(objective, on).double()
    view = tiny.view(objective)
    assert view.token_type_ids is not None
    [hidden] = on.encode([view])
    oracle = torch.zeros((), dtype=torch.double)
    for row, length in enumerate(view.lengths):
        states, second = hidden[row, :length], view.token_type_ids[row, :length] == 1
        difference = states[~second].mean(0) - states[second].mean(0)
        pooled = {"first": states[0], "difference": difference, "distance": difference.abs()}[objective.pooling]
        logits = objective.classifier(torch.tanh(objective.dense(pooled)))
        oracle = oracle - logits.log_softmax(0)[view.targets[row]]
    ours = tiny.loss_sums(objective, on, view)["loss"]
    torch.testing.assert_close(ours, oracle, rtol=1e-10, atol=1e-10)
    tolerance = 1e-6 if family == "llama" else 1e-10  # llama's norms compute in single precision
    for own, other in zip(tiny.gradients(ours, on, objective), tiny.gradients(oracle, on, objective), strict=True):
        torch.testing.assert_close(own, other, rtol=tolerance, atol=tolerance)


def test_initial_loss_is_that_of_a_coin() -> None:
    assert SentenceOrder().initial_loss() == pytest.approx(math.log(2))


def test_half_precision_is_scored_in_single() -> None:
    on = tiny.backbone("bert").bfloat16()
    objective = tiny.built(SentenceOrder(pooling="difference"), on).bfloat16()
    assert tiny.loss_sums(objective, on, tiny.view(objective))["loss"].dtype == torch.float32
