"""Parameter groups of models of seven families. Oracles: counts by hand, and the rule by which BERT was trained."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForPreTraining, AutoModelForSeq2SeqLM

from lm_objectives import Backbone, Pretraining
from lm_objectives.balancers import Uncertainty
from lm_objectives.objectives import (
    CausalLM,
    MaskedLM,
    NextSentence,
    Objective,
    PrefixLM,
    ReplacedToken,
    SentenceOrder,
    SpanDenoising,
    TextDenoising,
)
from lm_objectives.optim import parameter_groups
from lm_objectives.views import Vocabulary

VOCABULARY = 40
COMMON = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SIZE: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
BART = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24}
BART |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 8}
T5 = {"d_model": 16, "d_ff": 24, "d_kv": 8, "num_layers": 2, "num_heads": 2}


def maker(auto: Any, family: str, **size: Any) -> Callable[[], nn.Module]:
    return lambda: auto.from_config(AutoConfig.for_model(family, **COMMON | size))


FAMILIES = {
    "bert": maker(AutoModelForPreTraining, "bert", max_position_embeddings=8, **SIZE),
    "albert": maker(AutoModelForPreTraining, "albert", embedding_size=8, max_position_embeddings=8, **SIZE),
    "electra": maker(AutoModelForPreTraining, "electra", embedding_size=8, max_position_embeddings=8, **SIZE),
    "gpt2": maker(AutoModelForCausalLM, "gpt2", n_positions=8, n_embd=16, n_layer=2, n_head=2),
    "llama": maker(AutoModelForCausalLM, "llama", tie_word_embeddings=False, **SIZE),
    "t5": maker(AutoModelForSeq2SeqLM, "t5", **T5),
    "bart": maker(AutoModelForSeq2SeqLM, "bart", **BART),
}
# Matrices and tables. BERT: 6 matrices a layer, the pooler, the head's transform, the pairs' classifier; words,
# positions, types. ALBERT: one shared layer, and the map from the narrow embedding. ELECTRA: the same map, and the
# discriminator's two. GPT-2: 4 a layer; words, positions. Llama, untied: 7 a layer; words and vocabulary head. T5: 6 in
# an encoder's layer and 10 in a decoder's; words, while its tables of relative positions are biases. BART: the same;
# words, and positions twice.
COUNTS = {
    "bert": (2 * 6 + 3, 3),
    "albert": (6 + 4, 3),
    "electra": (2 * 6 + 3, 3),
    "gpt2": (2 * 4, 2),
    "llama": (2 * 7, 2),
    "t5": (2 * 6 + 2 * 10, 1),
    "bart": (2 * 6 + 2 * 10, 3),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_has_one_role(family: str) -> None:
    model = FAMILIES[family]()
    groups = parameter_groups(model, VOCABULARY)
    assert [group["role"] for group in groups] == ["matrix", "embedding", "vector"]
    assert tuple(len(group["params"]) for group in groups[:2]) == COUNTS[family]
    members = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(members) == sorted({id(parameter) for parameter in model.parameters()})
    assert ["transposed" in group for group in groups] == [family == "gpt2", False, False]


@pytest.mark.parametrize("family", FAMILIES)
def test_norms_and_biases_alone_do_not_decay(family: str) -> None:
    """Oracle: the rule by names of google-research/bert, optimization.py, with the other families' names of norms."""
    model = FAMILIES[family]()
    excluded = ("bias", "norm", "ln_")
    expected = {n for n, _ in model.named_parameters() if any(part in n.lower() for part in excluded)}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    still = [g for g in parameter_groups(model, VOCABULARY) if g.get("weight_decay") == 0.0]
    assert {names[id(parameter)] for group in still for parameter in group["params"]} == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_order_is_the_modules(family: str) -> None:
    model = FAMILIES[family]()
    place = {id(parameter): index for index, parameter in enumerate(model.parameters())}
    for group in parameter_groups(model, VOCABULARY):
        places = [place[id(parameter)] for parameter in group["params"]]
        assert places == sorted(places)


def test_frozen_parameters_and_empty_roles_are_left_out() -> None:
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 4), nn.Conv1d(4, 4, 2))
    model[1].requires_grad_(False)
    groups = parameter_groups(model, 5)
    assert [(group["role"], len(group["params"])) for group in groups] == [
        ("embedding", 1),
        ("tensor", 1),
        ("vector", 1),
    ]


def test_no_map_within_a_backbone_is_a_vocabulary_head() -> None:
    """Oracle: by hand, an inner width of the vocabulary's size: 7 matrices a layer; the embedding and the head."""
    vocabulary = Vocabulary(size=24, pad=0, bos=1, eos=2, mask=3, special=(0, 1, 2, 3))
    module = Pretraining(Backbone("llama", SIZE | {"tie_word_embeddings": False}), {"causal": CausalLM()})
    module.build(vocabulary, 8, 10)
    matrices, tables, _ = parameter_groups(module, vocabulary.size)
    assert len(matrices["params"]) == 2 * 7
    assert {id(p) for p in tables["params"]} == {
        id(module.backbone.embedding),
        id(module.objectives["causal"].lm_head.weight),
    }


UNTIED = SIZE | {"tie_word_embeddings": False}
T5_UNTIED = T5 | {"tie_word_embeddings": False}
GENERATOR = {f"generator.model.layers.{n}.self_attn.{part}_proj" for n in range(2) for part in "qkvo"}
GENERATOR |= {f"generator.model.layers.{n}.mlp.{part}_proj" for n in range(2) for part in ("gate", "up", "down")}
# By Jordan's rule, hidden matrices to Muon; embeddings, vocabulary heads and classifiers to AdamW.
HEADS: dict[str, tuple[str, dict[str, Any], Objective, dict[str, set[str]]]] = {
    "causal": ("llama", UNTIED, CausalLM(), {"embedding": {"lm_head"}}),
    "causal, tied": ("llama", SIZE | {"tie_word_embeddings": True}, CausalLM(), {}),
    "prefix": ("llama", UNTIED, PrefixLM(), {"embedding": {"lm_head"}}),
    "masked": ("llama", UNTIED, MaskedLM(), {"matrix": {"transform.0"}}),
    "masked, previous": ("llama", UNTIED, MaskedLM(predict_from="previous"), {}),
    "next sentence": ("bert", SIZE, NextSentence(), {"matrix": {"dense"}, "output": {"classifier"}}),
    "order": ("llama", SIZE, SentenceOrder(), {"matrix": {"dense"}, "output": {"classifier"}}),
    "replaced": (
        "llama",
        SIZE,
        ReplacedToken(generator=0.5),
        {"matrix": {"project_in", "transform.0", "dense"} | GENERATOR, "output": {"classifier"}},
    ),
    "spans": ("t5", T5_UNTIED, SpanDenoising(), {"embedding": {"lm_head"}}),
    "text": ("bart", BART, TextDenoising(), {}),
}


def groups_of(objective: Objective, family: str, config: dict[str, Any], vocabulary: int = 64) -> dict[str, set[str]]:
    """Names of an objective's own layers with weights in each role but that of vectors."""
    sentinels = tuple((f"<extra_id_{n}>", n + 4) for n in range(20))
    ids = Vocabulary(size=64, pad=0, bos=1, eos=2, mask=3, special=(0, 1, 2, 3), named_tokens=sentinels)
    module = Pretraining(Backbone(family, config), {"it": objective})
    module.build(ids, 8, 10)
    names = {id(p): name.removesuffix(".weight") for name, p in module.objectives["it"].named_parameters()}
    groups = parameter_groups(module, vocabulary)
    own = {g["role"]: {names[id(p)] for p in g["params"] if id(p) in names} for g in groups if g["role"] != "vector"}
    return {role: chosen for role, chosen in own.items() if chosen}


@pytest.mark.parametrize("name", HEADS)
def test_output_layers_of_shipped_objectives_are_no_matrices(name: str) -> None:
    family, config, objective, expected = HEADS[name]
    assert groups_of(objective, family, config) == expected


def test_a_head_onto_more_tokens_than_the_tokenizer_has_is_no_matrix() -> None:
    """As behind a folder whose embedding has spare rows."""
    assert groups_of(CausalLM(), "llama", UNTIED, vocabulary=60) == {"output": {"lm_head"}}


class Probing(CausalLM):
    """A user's own: two layers, of which the last one gives logits, and a matrix of its own that does so too."""

    output_layers = ("probe.1", "scores")

    def setup(self, backbone: Backbone, vocabulary: Vocabulary) -> None:
        super().setup(backbone, vocabulary)
        self.lm_head = None
        self.probe = nn.Sequential(nn.Linear(backbone.dim, 5), nn.Linear(5, 3))
        self.scores = nn.Parameter(torch.zeros(3, 3))


class Misnamed(Probing):
    output_layers = ("prob",)


def test_a_users_objective_names_its_output_layers() -> None:
    assert groups_of(Probing(), "llama", SIZE) == {"matrix": {"probe.0"}, "output": {"probe.1", "scores"}}


def test_an_output_layer_that_is_not_there() -> None:
    with pytest.raises(ValueError) as caught:
        groups_of(Misnamed(), "llama", SIZE)
    assert str(caught.value) == (
        "expected a layer prob in Misnamed, whose output_layers name it, found none: name those that its setup makes"
    )


def test_torch_optimizers_take_the_groups_and_vectors_do_not_decay() -> None:
    model = nn.Linear(3, 3)
    before = [parameter.detach().clone() for parameter in (model.weight, model.bias)]
    optimizer = torch.optim.AdamW(parameter_groups(model, 7), lr=0.1, weight_decay=0.5)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(model.weight.detach(), before[0] * (1 - 0.1 * 0.5))
    assert torch.equal(model.bias, before[1])


def test_no_optimizer_sees_a_balancer() -> None:
    """What a balancer learns is in buffers, so that nothing decays or clips it."""
    module = Pretraining(Backbone("llama", SIZE), {"causal": CausalLM()}, Uncertainty())
    assert not list(module.balancer.parameters())
