"""Loss and metrics of an objective that has no exhibit of its own."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lm_objectives.corruptions.causal_lm import NextToken
from lm_objectives.demo.context import DemoContext
from lm_objectives.demo.generate import input_view
from lm_objectives.demo.measuring import measured
from lm_objectives.objectives import LossOutput, Objective
from lm_objectives.objectives.base import baseline_metrics
from lm_objectives.views import View, Vocabulary


class EvenToken(Objective):
    """Whether the next token has an even id: an objective of a user's own."""

    loss_weights = {"loss": 2.0}  # noqa: RUF012

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.corruption = NextToken()

    def setup(self, backbone: Any, vocabulary: Vocabulary) -> None:
        del vocabulary
        self.head = nn.Linear(backbone.dim, 2)

    def initial_loss(self) -> float:
        return 2 * math.log(2)

    def compute_loss(self, hidden: Tensor, view: View, embedding: Tensor) -> LossOutput:
        del embedding
        logits = self.head(hidden.flatten(0, 1)[view.label_positions])
        return LossOutput({"loss": F.cross_entropy(logits, view.targets % 2, reduction="sum")})


class Told(EvenToken):
    """The same with an exhibit."""

    def exhibit(self, stage: DemoContext) -> list[str]:
        return [f"  {len(stage.excerpt(self.corruption).input_ids[0])} tokens"]


@torch.no_grad()
def test_an_objective_without_an_exhibit_shows_its_loss(stage: DemoContext) -> None:
    """Oracle: twice the mean of cross-entropies, on each of the text's windows read by a loop."""
    objective = EvenToken()
    objective.setup(stage.backbone, stage.vocabulary)
    ids, nats = torch.from_numpy(stage.text.tokens.astype(int)), []
    for start in range(0, len(ids) - 1, stage.seq_len):
        part = ids[None, start : start + stage.seq_len]
        [hidden] = stage.backbone.encode([input_view(part[0].tolist(), "causal")])
        nats += F.cross_entropy(objective.head(hidden[0, :-1]), part[0, 1:] % 2, reduction="none").tolist()
    assert list(objective.eval().exhibit(stage)) == [f"  loss  {2 * sum(nats) / len(nats):.3f} nats"]


@torch.no_grad()
def test_metrics_and_parts_are_shown_as_held_out_rows_have_them(stage: DemoContext) -> None:
    """Oracle: the perplexity is exp of the loss; ELECTRA's loss is the sum of its parts by their factors."""
    values = {}
    for name in ("masked", "replaced"):
        objective: Any = stage.module.objectives[name]
        lines = [line.split() for line in measured(objective, stage)]
        values[name] = {line[0]: float(line[1]) for line in lines}
        assert {"loss", *objective.loss_weights, *objective.metrics(), *baseline_metrics(objective)} == set(
            values[name]
        )
        assert {line[0] for line in lines if line[-1] == "nats"} == {"loss", *objective.loss_weights}
    masked, replaced = values["masked"], values["replaced"]
    assert math.exp(masked["loss"]) == pytest.approx(masked["perplexity"], rel=2e-3)
    total = replaced["generator"] + 50 * replaced["discriminator"]
    assert replaced["loss"] == pytest.approx(total, abs=50 * 6e-4)
    assert masked["uniform"] == pytest.approx(math.log(stage.vocabulary.size), abs=6e-4)


def test_an_objective_may_have_an_exhibit_of_its_own(stage: DemoContext) -> None:
    assert Told().exhibit(stage) == [f"  {stage.excerpt(Told().corruption).input_ids.shape[1]} tokens"]
