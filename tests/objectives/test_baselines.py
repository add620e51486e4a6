"""What constant predictions reach, from counts of training targets."""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import Metric
from utils import tiny

from lm_objectives.corruptions.causal_lm import NextToken
from lm_objectives.objectives import CausalLM, LossOutput, MaskedLM, NextSentence, Objective, PrefixLM, SentenceOrder
from lm_objectives.objectives.base import BaselineNames, baseline_metrics
from lm_objectives.objectives.metrics import (
    ConstantAccuracy,
    ConstantNats,
    ConstantPerplexity,
    Mean,
    over_vocabulary,
    token_baselines,
)
from lm_objectives.views import View, Vocabulary

COUNTS = torch.tensor([0, 2, 5])
OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "causal": CausalLM,
    "masked": MaskedLM,
    "prefix": PrefixLM,
    "order": SentenceOrder,
    "next": NextSentence,
}


class Length(Objective):
    """An objective of a user's own: which of three lengths a row has, from its first state."""

    baseline_names: ClassVar[BaselineNames] = {"loss": ("base_rate",), "accuracy": ("majority",)}

    def __init__(self, factor: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.corruption = NextToken()
        self.loss_weights = {"loss": factor}  # type: ignore[misc]

    def setup(self, backbone: Any, vocabulary: Vocabulary) -> None:
        del vocabulary
        self.head = nn.Linear(backbone.dim, 3)

    def initial_loss(self) -> float:
        return math.log(3)

    def compute_loss(self, hidden: Tensor, view: View, embedding: Tensor) -> LossOutput:
        del embedding
        return LossOutput({"loss": F.cross_entropy(self.head(hidden[:, 0]), view.targets, reduction="sum")})


class Measuring(Length):
    """The same, which measures a baseline itself."""

    def metrics(self) -> dict[str, Metric]:
        return {"majority": Mean()}


def reached(metric: Metric, *batches: list[int]) -> float:
    """The value of a metric that is given targets."""
    for targets in batches:
        metric.update(torch.tensor(targets))
    return metric.compute().item()


def test_nats_are_those_of_the_add_one_model() -> None:
    """Oracle: by hand, -ln of (n + 1) / (7 + 3) for counts of 0, 2 and 5; the fourth target was never counted."""
    surprise = [-math.log(p) for p in (0.1, 0.3, 0.6, 0.1)]
    assert [reached(ConstantNats(COUNTS), [target]) for target in range(4)] == pytest.approx(surprise)
    mean = (2 * surprise[2] + surprise[1]) / 3
    assert reached(ConstantNats(COUNTS), [2, 2], [1]) == pytest.approx(mean)
    assert reached(ConstantPerplexity(COUNTS), [2, 2], [1]) == pytest.approx(math.exp(mean))


def test_accuracy_is_that_of_the_commonest() -> None:
    assert reached(ConstantAccuracy(COUNTS), [2, 2], [1, 0]) == 0.5
    assert reached(ConstantAccuracy(torch.tensor([1, 4, 4])), [1, 2, 2]) == pytest.approx(1 / 3)  # the lowest of two


def test_tokens_share_the_whole_vocabulary() -> None:
    """Oracle: by hand. Of 8 tokens the smoothing gives each 1 in 7 + 8; nothing counted leaves the uniform model."""
    baselines = token_baselines(COUNTS, 8)
    assert list(baselines) == ["uniform", "unigram", "unigram_perplexity", "commonest"]
    found = {name: reached(metric, [2, 7]) for name, metric in baselines.items()}
    nats = (math.log(15 / 6) + math.log(15)) / 2
    assert list(found.values()) == pytest.approx([math.log(8), nats, math.exp(nats), 0.5])
    assert {name: reached(metric, [2, 7]) for name, metric in token_baselines(None, 8).items()} == {
        "uniform": pytest.approx(math.log(8))
    }


@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_constant_reaches_more(name: str) -> None:
    """Oracle: all constants tried, and Gibbs' inequality, on the targets that were counted; smoothing costs at most
    V / N nats.
    """
    objective = OBJECTIVES[name]()
    targets = tiny.view(objective, 4000).targets
    objective.target_counts = targets.bincount()
    tiny.built(objective, tiny.backbone("bert"))
    found = {key: reached(metric, targets.tolist()) for key, metric in baseline_metrics(objective).items()}
    shares = targets.bincount() / len(targets)
    entropy = -torch.xlogy(shares, shares).sum().item()
    [accuracy] = objective.baseline_names["accuracy"]
    loss = objective.baseline_names["loss"][-1]
    assert found[accuracy] == pytest.approx(
        max((targets == target).float().mean().item() for target in targets.unique())
    )
    classes = 2 if loss == "base_rate" else 67
    assert entropy - 1e-5 <= found[loss] <= entropy + classes / len(targets)


def test_a_users_objective_has_them() -> None:
    """Oracle: by hand, 7 training rows of the lengths 1 and 2, and 4 held-out ones, -ln(3/10) and -ln(6/10)."""
    objective = Length()
    assert baseline_metrics(objective) == {}  # nothing is counted
    objective.target_counts = COUNTS
    found = {name: reached(metric, [2, 1, 2, 1]) for name, metric in baseline_metrics(objective).items()}
    assert found == {"base_rate": pytest.approx(-math.log(0.18) / 2), "majority": 0.5}


def test_where_they_would_mislead_there_are_none() -> None:
    """A loss of several parts, or of another factor, is not the nats of its targets; a user's own metric goes first."""
    scaled, own = Length(2.0), Measuring()
    scaled.target_counts = own.target_counts = COUNTS
    assert baseline_metrics(scaled) == {}
    assert list(baseline_metrics(own)) == ["base_rate"]


def test_targets_beyond_the_vocabulary_are_one_line() -> None:
    with pytest.raises(ValueError, match=r"^expected targets that are tokens, below 3, found 4 among them: give"):
        over_vocabulary(torch.ones(5, dtype=torch.long), 3)
