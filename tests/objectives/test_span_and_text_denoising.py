"""Span and text denoising: who learns, what is seen, where a fresh model begins, and what is observed."""

import math
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from utils import tiny
from utils.families import SENTINELS as VOCABULARY

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.corruptions.span_denoising import SpanCorruption
from lm_objectives.corruptions.span_lengths import Poisson, Uniform
from lm_objectives.corruptions.text_denoising import TextInfilling
from lm_objectives.objectives import MaskedLM, Objective, PrefixLM, SpanDenoising, TextDenoising
from lm_objectives.plugin import from_config, to_config
from lm_objectives.views import View

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "t5": ("t5", {"d_model": 32, "num_heads": 4, "d_kv": 8, "d_ff": 48, "num_layers": 2, "dropout_rate": 0.0}),
    "bart": (
        "bart",
        {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "max_position_embeddings": 40, "dropout": 0.0}
        | {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48},
    ),
}
FAMILIES["t5 1.1"] = ("t5", FAMILIES["t5"][1] | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False})
FAMILIES["bart untied"] = ("bart", FAMILIES["bart"][1] | {"tie_word_embeddings": False})
OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "spans": lambda: SpanDenoising(0.3),
    "text": lambda: TextDenoising(unit="token"),
    "prefix": lambda: PrefixLM(layout="encoder-decoder"),
}
each = pytest.mark.parametrize("name", OBJECTIVES)
everywhere = pytest.mark.parametrize("family", FAMILIES)


def made(name: str, family: str, size: int = 67) -> tuple[Backbone, Objective]:
    """A fresh backbone that does not drop out, and the objective on it."""
    torch.manual_seed(0)
    objective, (model_type, config) = OBJECTIVES[name](), FAMILIES[family]
    on = Backbone(model_type, config)
    on.setup(replace(VOCABULARY, size=size), tiny.WINDOW, {name: objective.corruption})
    objective.setup(on, replace(VOCABULARY, size=size))
    return on, objective


def view_of(objective: Objective, count: int = 6, seed: int = 0) -> View:
    """Rows of different lengths, with a sentence's start at some tokens, corrupted."""
    rows = replace(tiny.rows(count, 57, seed), token_type_ids=None)
    return objective.corruption.corrupt(replace(rows, sentence_starts=rows.input_ids % 4 == 0), VOCABULARY)


def sums(objective: Objective, on: Backbone, view: View) -> Tensor:
    [hidden] = on.encode([view])
    return objective.compute_loss(hidden, view, on.embedding).loss_sums["loss"]


@each
@everywhere
def test_every_parameter_gets_a_gradient(name: str, family: str) -> None:
    """Oracle: autograd. DDP crashes on a parameter that no loss reaches."""
    on, objective = made(name, family)
    sums(objective, on, view_of(objective)).backward()
    for owner in (objective, on):
        assert [key for key, parameter in owner.named_parameters() if parameter.grad is None] == []
    assert {key for key, _ in objective.named_parameters()} == (
        {"lm_head.weight"} if "1.1" in family or "un" in family else set()
    )


@each
@pytest.mark.parametrize("family", ["t5", "bart"])
def test_what_padding_holds_changes_nothing(name: str, family: str) -> None:
    on, objective = made(name, family)
    view = view_of(objective, 20)
    assert view.padded and view.decoder_labels is not None
    ids, decoder = view.input_ids.clone(), view.decoder_labels.clone()
    ids[torch.arange(ids.shape[1]) >= view.lengths[:, None]] = 9
    unscored = torch.ones(decoder.numel(), dtype=torch.bool).index_fill(0, view.label_positions, False)
    assert unscored.any()
    decoder.view(-1)[unscored] = 9
    assert sums(objective, on, replace(view, input_ids=ids, decoder_labels=decoder)) == sums(objective, on, view)


@each
@pytest.mark.parametrize("family", ["t5", "t5 1.1", "bart", "bart untied"])
def test_fresh_model_is_near_its_initial_loss(name: str, family: str) -> None:
    """Oracle: ln V. T5's tied logits are of variance 1 when fresh, which adds up to half a nat; the others' of less."""
    on, objective = made(name, family)
    view = view_of(objective, 200)
    loss = float(sums(objective, on, view).detach()) / view.counts["loss"]
    assert objective.initial_loss() == pytest.approx(math.log(67))
    assert loss == pytest.approx(math.log(67), abs=0.8 if family == "t5" else 0.05)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("predict_from", ["same", "previous"])
def test_masked_head_on_an_encoder_begins_near_ln_v(family: str, predict_from: Any) -> None:
    """Oracle: ln V. T5's embedding is of standard deviation 1, so that a usual head would be sure, and wrong."""
    torch.manual_seed(0)
    on, objective = Backbone(*FAMILIES[family]), MaskedLM(predict_from=predict_from)
    on.setup(VOCABULARY, tiny.WINDOW, {"masked": objective.corruption})
    objective.setup(on, VOCABULARY)
    view = tiny.view(objective, 200)
    # A T5's state is much of its own token's embedding, which costs up to a nat; √32 in the logits would cost ten.
    assert float(sums(objective, on, view).detach()) / view.counts["loss"] == pytest.approx(math.log(67), abs=1.0)


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_spans_in_one_row_are_the_formula(family: str) -> None:
    """Oracle: log softmax over whole logits at the positions in front of the target's; what is read is not scored."""
    on, objective = tiny.backbone(family), SpanDenoising(0.3, layout="prefix")
    objective.setup(on, VOCABULARY)
    rows = tiny.rows(6, 57)
    most = objective.corruption.raw_length(tiny.WINDOW)
    ids = np.where(np.arange(tiny.WINDOW) < most, rows.input_ids, 0)
    short = replace(rows, input_ids=ids, lengths=np.minimum(rows.lengths, most), token_type_ids=None)
    view = objective.corruption.corrupt(short, VOCABULARY)
    assert view.prefix_lengths is not None and view.decoder_labels is None
    [hidden] = on.encode([view])
    surprise = -(hidden @ (on.embedding if objective.lm_head is None else objective.lm_head.weight).T).log_softmax(-1)
    oracle = sum(
        surprise[row, place - 1, view.input_ids[row, place]]
        for row, (read, length) in enumerate(zip(view.prefix_lengths.tolist(), view.lengths.tolist(), strict=True))
        for place in range(read, length)
    )
    torch.testing.assert_close(sums(objective, on, view), oracle, rtol=1e-5, atol=1e-5)


@each
def test_observes_accuracy(name: str) -> None:
    """Oracle: argmax over whole logits; sentinels count like any token."""
    on, objective = made(name, "t5")
    objective.eval()
    view = view_of(objective, 20)
    [hidden] = on.encode([view])
    observed = objective.compute_loss(hidden, view, on.embedding).metric_inputs
    likeliest = (hidden @ on.embedding.T).argmax(-1).flatten()[view.label_positions]
    assert torch.equal(observed["accuracy"][0], (likeliest == view.targets).float())
    assert (view.targets >= 57).any() == (name == "spans")
    assert set(observed) == set(objective.metrics())


@pytest.mark.parametrize(
    ("objective", "corruption"),
    [
        (SpanDenoising(), SpanCorruption()),
        (SpanDenoising(0.5, 8.0, "prefix", "[X]"), SpanCorruption(0.5, 8.0, "prefix", "[X]")),
        (TextDenoising(), TextInfilling(0.3, Poisson(3.0))),
        (TextDenoising(0.2, Uniform(1, 3), "token", False), TextInfilling(0.2, Uniform(1, 3), "token", False)),
    ],
)
def test_arguments_reach_the_corruption(objective: Objective, corruption: Any) -> None:
    assert objective.corruption == corruption
    assert from_config(to_config(objective)).corruption == corruption
    assert pickle.loads(pickle.dumps(objective.corruption)) == corruption
