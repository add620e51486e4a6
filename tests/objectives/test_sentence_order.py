"""Sentence order: its first loss, and half precision; `test_classification.py` has the formula."""

import math

import pytest
import torch
from utils import tiny

from lm_objectives.objectives import SentenceOrder


def test_initial_loss_is_that_of_a_coin() -> None:
    assert SentenceOrder().initial_loss() == pytest.approx(math.log(2))


def test_half_precision_is_scored_in_single() -> None:
    on = tiny.backbone("bert").bfloat16()
    objective = tiny.built(SentenceOrder(pooling="difference"), on).bfloat16()
    assert tiny.loss_sums(objective, on, tiny.view(objective))["loss"].dtype == torch.float32
