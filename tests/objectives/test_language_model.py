"""The base of objectives that predict tokens, as a user makes it, with the family's head or another."""

import json
from dataclasses import dataclass
from typing import Any

import jsonargparse
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from utils import tiny

from lm_objectives import (
    Backbone,
    CausalLM,
    Geometric,
    LanguageModelObjective,
    NextToken,
    Rows,
    TokenMasking,
    View,
    Vocabulary,
    next_token_labels,
)
from lm_objectives.objectives import Objective
from lm_objectives.plugin import from_config, to_config


class Narrow(LanguageModelObjective):
    """Predicts through a narrow layer, with a bias."""

    def setup(self, backbone: Backbone, vocabulary: Vocabulary) -> None:
        super().setup(backbone, vocabulary)
        self.inner, self.lm_head = nn.Linear(backbone.dim, 8), nn.Linear(8, vocabulary.size)

    def head(self, hidden: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        del embedding
        return self.inner(hidden).tanh(), self.lm_head.weight, self.lm_head.bias


@pytest.mark.parametrize("changes", [{}, {"tie_word_embeddings": False}])
def test_with_next_tokens_it_is_the_causal_one(changes: dict[str, Any]) -> None:
    on = tiny.backbone("llama", **changes)
    base, leaf = (
        tiny.built(kind, on) for kind in (LanguageModelObjective(NextToken(), z_loss=0.1), CausalLM(z_loss=0.1))
    )
    view = tiny.view(base)
    assert torch.equal(tiny.loss(base, on, view), tiny.loss(leaf, on, view))
    assert base.initial_loss() == leaf.initial_loss()


def test_another_head_gives_loss_and_logits() -> None:
    """Oracle: its layers one after another, and torch's cross-entropy, with gradients, in double precision."""
    on = tiny.backbone("bert").double()
    objective: Any = tiny.built(Narrow(TokenMasking(0.4)), on).double()
    view = tiny.view(objective, 12)
    [hidden] = on.encode([view])
    logits = objective.lm_head(objective.inner(hidden).tanh())
    torch.testing.assert_close(objective.logits(hidden, on.embedding), logits)
    oracle = F.cross_entropy(logits.flatten(0, 1)[view.label_positions], view.targets, reduction="sum")
    ours = tiny.loss_sums(objective, on, view)["loss"]
    torch.testing.assert_close(ours, oracle)
    for own, other in zip(tiny.gradients(ours, objective), tiny.gradients(oracle, objective), strict=True):
        torch.testing.assert_close(own, other)


@dataclass(frozen=True)
class Ahead(NextToken):
    """Says nothing of its attention to `labelled`, whose default sees the next token."""

    def corrupt(self, rows: Rows, vocabulary: Vocabulary) -> View:
        return rows.labelled(rows.input_ids, next_token_labels(rows))


def test_views_of_another_attention_than_the_corruptions_are_one_clear_line() -> None:
    on = tiny.backbone("llama")
    objective = tiny.built(LanguageModelObjective(Ahead()), on)
    with pytest.raises(
        ValueError, match=r"^expected views with the attention causal of Ahead, found bidirectional: give"
    ):
        tiny.loss(objective, on, tiny.view(objective))


def test_one_from_yaml_is_rebuilt_from_its_description() -> None:
    """Oracle: the corruption made in Python."""
    masking = {"rate": [[0, 0.4], [1.0, 0.2]], "unit": "word", "lengths": "Geometric"}
    asked = {
        "class_path": "LanguageModelObjective",
        "init_args": {"corruption": {"class_path": "TokenMasking", "init_args": masking}, "z_loss": 0.001},
    }
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--objectives", type=dict[str, Objective])
    made = parser.instantiate(parser.parse_object({"objectives": {"own": asked}})).objectives["own"]
    described = to_config(made)
    assert described["init_args"]["corruption"]["class_path"] == "lm_objectives.TokenMasking"
    assert described["init_args"]["corruption"]["init_args"]["lengths"]["class_path"] == "lm_objectives.Geometric"
    again = from_config(json.loads(json.dumps(described)))
    for found in (made, again):
        assert found.corruption == TokenMasking([[0, 0.4], [1.0, 0.2]], unit="word", lengths=Geometric())
        assert found.z_loss == 0.001
    assert to_config(again) == described
