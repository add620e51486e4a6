"""Objectives that classify positions or rows, as a user makes them: from Python and from YAML."""

import json
import math
from dataclasses import dataclass
from itertools import product
from typing import Any

import jsonargparse
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from utils import tiny

from lm_objectives import (
    ClassificationObjective,
    Corruption,
    LossOutput,
    Rows,
    SentenceOrderPairs,
    View,
    Vocabulary,
    sample_positions,
)
from lm_objectives.errors import InputError
from lm_objectives.objectives import NextSentence, Objective, SentenceOrder
from lm_objectives.objectives.classification import SegmentPairObjective
from lm_objectives.plugin import from_config, to_config


@dataclass(frozen=True)
class Shuffling(Corruption):
    """A corruption of a user's own."""

    rate: float = 0.15

    def corrupt(self, rows: Rows, vocabulary: Vocabulary) -> View:
        ids = rows.input_ids.copy()
        for row, chosen in zip(ids, sample_positions(rows, vocabulary, self.rate), strict=True):
            row[chosen] = np.roll(row[chosen], 1)
        return rows.labelled(ids, labels=ids != rows.input_ids)


@dataclass(frozen=True)
class Length(Corruption):
    """Whether a row is full."""

    def corrupt(self, rows: Rows, vocabulary: Vocabulary) -> View:
        return rows.labelled(rows.input_ids, labels=rows.lengths == rows.input_ids.shape[1])


class Halved(ClassificationObjective):
    """Another pooling and another loss."""

    def pool(self, hidden: Tensor, view: View) -> Tensor:
        return hidden.mean(1)

    def position_losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        return super().position_losses(logits, targets) / 2


def score(objective: Objective, family: str = "bert") -> tuple[LossOutput, View, Tensor, Any]:
    """Its losses on some rows, the view, the hidden states, and itself in double precision."""
    on = tiny.backbone(family).double()
    made: Any = tiny.built(objective, on).double().eval()
    view = tiny.view(made, 20)
    [hidden] = on.encode([view])
    return made.compute_loss(hidden, view, on.embedding), view, hidden, made


def test_each_token_is_classified() -> None:
    """Oracle: the classifier on every token that is not padding, and torch's cross-entropy."""
    output, view, hidden, made = score(ClassificationObjective(Shuffling(0.5)))
    real = torch.arange(tiny.WINDOW) < view.lengths[:, None]
    labels = (view.input_ids != torch.from_numpy(tiny.rows(20).input_ids))[real].long()
    assert 0 < labels.sum() < len(labels) == view.counts["loss"]
    logits = made.classifier(hidden[real])
    torch.testing.assert_close(output.loss_sums["loss"], F.cross_entropy(logits, labels, reduction="sum"))
    [correct] = output.metric_inputs["accuracy"]
    assert torch.equal(correct, (logits.argmax(1) == labels).float())
    assert made.initial_loss() == pytest.approx(math.log(2))


def test_each_row_is_classified_from_its_first_token() -> None:
    output, view, hidden, made = score(ClassificationObjective(Length(), classes=3))
    labels = (view.lengths == tiny.WINDOW).long()
    assert 0 < labels.sum() < len(labels) == view.counts["loss"]
    oracle = F.cross_entropy(made.classifier(hidden[:, 0]), labels, reduction="sum")
    torch.testing.assert_close(output.loss_sums["loss"], oracle)
    assert made.initial_loss() == pytest.approx(math.log(3))


def test_pooling_and_loss_may_be_ones_own() -> None:
    output, view, hidden, made = score(Halved(Length()))
    oracle = F.cross_entropy(made.classifier(hidden.mean(1)), view.targets, reduction="sum") / 2
    torch.testing.assert_close(output.loss_sums["loss"], oracle)


@pytest.mark.parametrize("count", [1, 7, 12, 33, 400])
def test_the_sum_is_cross_entropys_to_the_last_bit(count: int) -> None:
    objective = tiny.built(ClassificationObjective(Length()), tiny.backbone("bert"))
    hidden, view = torch.randn(count, tiny.WINDOW, 32), tiny.view(objective, count)
    logits = objective.classifier(hidden[:, 0])
    found = objective.compute_loss(hidden, view, torch.zeros(67, 32)).loss_sums["loss"]
    assert torch.equal(found, F.cross_entropy(logits, view.targets, reduction="sum"))


def test_one_class_is_one_clear_line() -> None:
    with pytest.raises(
        ValueError,
        match=r"^expected at least 2 classes, and at most 16777216, found 1: give as many as",
    ):
        ClassificationObjective(Length(), classes=1)


def parsed(asked: Any) -> Any:
    """An objective as the command line makes it."""
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--objectives", type=dict[str, Objective])
    return parser.instantiate(parser.parse_object({"objectives": {"own": asked}})).objectives["own"]


def test_one_from_yaml_is_rebuilt_from_its_description() -> None:
    """Oracle: the same made in Python."""
    corruption = {"class_path": f"{__name__}.Shuffling", "init_args": {"rate": 0.3}}
    made = parsed({"class_path": "ClassificationObjective", "init_args": {"corruption": corruption, "classes": 3}})
    described = to_config(made)
    assert described["class_path"] == "lm_objectives.ClassificationObjective"
    assert described["init_args"]["corruption"] == corruption
    again = from_config(json.loads(json.dumps(described)))
    oracle = ClassificationObjective(Shuffling(0.3), classes=3)
    for found in (made, again):
        assert type(found) is ClassificationObjective
        assert (found.corruption, found.classes, found.share) == (oracle.corruption, oracle.classes, oracle.share)
    assert to_config(again) == described


@pytest.mark.parametrize(
    "name", ["CausalLM", "PrefixLM", "MaskedLM", "SpanDenoising", "TextDenoising", "SentenceOrder"]
)
def test_a_subclass_has_its_own_corruption(name: str) -> None:
    with pytest.raises(jsonargparse.ArgumentError, match="corruption"):
        parsed({"class_path": name, "init_args": {"corruption": "NextToken"}})


def test_more_targets_than_classes_are_refused() -> None:
    objective = ClassificationObjective(Shuffling(), classes=2)
    objective.target_counts = torch.tensor([5, 4, 3])
    with pytest.raises(ValueError, match="expected targets below 2 classes, found 2: raise classes"):
        objective.setup(tiny.backbone("bert"), tiny.vocabulary())


class Averaged(ClassificationObjective):
    """A mistake: a mean where there should be a loss for each label."""

    def position_losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits, targets)


def test_a_mean_is_refused() -> None:
    on, objective = tiny.backbone("bert"), Averaged(Shuffling())
    objective.setup(on, tiny.vocabulary())
    with pytest.raises(ValueError, match="expected a loss for each label from position_losses, found shape"):
        tiny.loss_sums(objective, on, tiny.view(objective))


@pytest.mark.parametrize("family", ["llama", "bert", "gpt2"])
@pytest.mark.parametrize(
    ("kind", "pooling"),
    [
        *product([SentenceOrder, NextSentence], ["first"]),
        (SentenceOrder, "difference"),
        (NextSentence, "absolute_difference"),
    ],
)
def test_a_pair_is_told_by_the_formula(family: str, kind: Any, pooling: str) -> None:
    """Oracle: a loop over rows, in double precision, with all gradients."""
    on, objective = tiny.backbone(family).double(), kind(pooling=pooling)
    tiny.built(objective, on).double()
    view = tiny.view(objective)
    assert view.token_type_ids is not None
    [hidden] = on.encode([view])
    oracle = torch.zeros((), dtype=torch.double)
    for row, length in enumerate(view.lengths):
        states, second = hidden[row, :length], view.token_type_ids[row, :length] == 1
        difference = states[~second].mean(0) - states[second].mean(0)
        pooled = {"first": states[0], "difference": difference}.get(pooling, difference.abs())
        logits = objective.classifier(torch.tanh(objective.dense(pooled)))
        oracle = oracle - logits.log_softmax(0)[view.targets[row]]
    ours = tiny.loss_sums(objective, on, view)["loss"]
    torch.testing.assert_close(ours, oracle, rtol=1e-10, atol=1e-10)
    tolerance = 1e-6 if family == "llama" else 1e-10  # llama's norms compute in single precision
    for own, other in zip(tiny.gradients(ours, on, objective), tiny.gradients(oracle, on, objective), strict=True):
        torch.testing.assert_close(own, other, rtol=tolerance, atol=tolerance)


def test_pooling_is_of_those_that_there_are() -> None:
    """Oracle: the message; a misspelt name is no other method."""
    with pytest.raises(
        InputError, match=r"^expected pooling by first in SegmentPairObjective, found 'mean': correct it"
    ):
        SegmentPairObjective(SentenceOrderPairs(), "mean")
