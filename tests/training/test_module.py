"""Modules that are made of one description."""

from typing import Any

import torch
from utils.tiny import vocabulary

from lm_objectives import Backbone, CausalLM, Curriculum, GradNorm, MaskedLM, Pretraining, Stages

SIZE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def make(backbone: Backbone, objective: Any) -> Pretraining:
    """A module that is built from one seed."""
    module = Pretraining(backbone, {"causal": objective})
    torch.manual_seed(0)
    module.build(vocabulary(), seq_len=8, steps=10)
    return module


def pointers(module: Pretraining) -> set[int]:
    """Where parameters and buffers lie in memory."""
    return {tensor.data_ptr() for tensor in module.state_dict().values() if isinstance(tensor, torch.Tensor)}


def test_modules_of_the_same_parts_share_nothing() -> None:
    backbone, masked = Backbone("llama", SIZE), MaskedLM()
    balancer = Curriculum(Stages({"a": [[0, 1.0], [5, 0.0]]}), GradNorm())
    modules = [Pretraining(backbone, {"a": masked, "b": masked, "c": CausalLM()}, balancer) for _ in range(2)]
    for module in modules:
        module.build(vocabulary(), seq_len=8, steps=10)
    one, other = map(pointers, modules)
    assert len(one) == len(other) and not one & other
    assert len({id(objective) for module in modules for objective in module.objectives.values()}) == 6
    heads = [module.objectives[name].state_dict() for module in modules for name in "ab"]
    assert len({id(value) for head in heads for value in head.values()}) == sum(map(len, heads))


def test_parts_of_a_module_that_was_built_begin_anew() -> None:
    """Oracle: a module of fresh parts, from the same seed."""
    used = make(Backbone("llama", SIZE), CausalLM())
    used.backbone.embedding.data += 1
    again = make(used.backbone, used.objectives["causal"])
    fresh = make(Backbone("llama", SIZE), CausalLM())
    assert all(torch.equal(a, b) for a, b in zip(fresh.parameters(), again.parameters(), strict=True))
