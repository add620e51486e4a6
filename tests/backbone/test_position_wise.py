"""Hidden states at some positions alone, of every family."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from torch import nn
from utils.families import FAMILIES, SEQ2SEQ, built, some_ids, view_of

from lm_objectives.backbone.position_wise import position_wise_end
from lm_objectives.views import View

# As the families' code in transformers has them, after the attention.
END = {
    "llama": ["post_attention_layernorm", "mlp"],
    "gpt2": ["ln_2", "mlp"],
    "gpt_neox": ["post_attention_dropout", "post_attention_layernorm", "mlp", "post_mlp_dropout"],
    "bert": ["intermediate", "output"],
    "electra": ["intermediate", "output"],
    "modernbert": ["mlp_norm", "mlp"],
    "gemma3_text": [
        "post_attention_layernorm",
        "pre_feedforward_layernorm",
        "mlp",
        "post_feedforward_layernorm",
    ],
    "albert": [],  # its one layer runs twice
}


@pytest.mark.parametrize("family", END)
def test_what_runs_behind_the_attention_is_found(family: str) -> None:
    """Oracle: the names, read in the code of transformers."""
    backbone = built(family)
    last = backbone.layers[-1]
    names = {module: name for name, module in last.named_modules()}
    assert [names[module] for module in position_wise_end(backbone.model, last)] == END[family]


def labelled(view: View, positions: torch.Tensor) -> View:
    """The view with labels at some flat positions."""
    return replace(view, label_positions=positions, targets=positions)


@pytest.mark.parametrize(
    ("family", "attention"),
    [*product(FAMILIES, ["bidirectional", "causal"]), *product(SEQ2SEQ, ["bidirectional"])],
)
def test_states_are_those_of_the_whole_pass(family: str, attention: Any) -> None:
    """Oracle: the whole pass, from which the positions are taken; whole passes stay what they were."""
    backbone = built(family)
    positions = torch.tensor([2, 7, 12 + 5, 24 + 1])
    view = labelled(view_of(some_ids(3), attention, [12, 9, 5]), positions)
    with torch.no_grad():
        [whole] = backbone.encode([view])
        torch.testing.assert_close(backbone.encode_labelled(view), whole.flatten(0, 1)[positions], rtol=1e-5, atol=1e-6)
        assert torch.equal(backbone.encode([view])[0], whole)


def test_the_end_of_the_last_layer_runs_at_the_positions_alone_where_they_are_few() -> None:
    """Oracle: the number of states that its feed-forward network is given, in this layer and in the one before."""
    backbone, seen = built("llama"), []
    for layer in backbone.layers:
        mlp = layer.get_submodule("mlp")
        mlp.get_submodule("down_proj").register_forward_hook(
            lambda module, inputs, output: seen.append(output.shape[:2])
        )
    few = labelled(view_of(some_ids(3), "causal"), torch.tensor([3, 20]))
    backbone.encode_labelled(few)
    assert seen[-2:] == [(3, 12), (1, 2)]
    backbone.encode_labelled(labelled(few, torch.arange(36)))
    assert seen[-2:] == [(3, 12), (3, 12)]
    backbone.train().encode_labelled(few)
    assert seen[-2:] == [(3, 12), (3, 12)]


def test_a_layer_that_mixes_positions_at_its_end_runs_whole() -> None:
    """A mixer behind the attention, as FNet's: what runs before it is needed everywhere."""

    class Mixed(nn.Module):
        def __init__(self, mlp: nn.Module) -> None:
            super().__init__()
            self.mlp = mlp

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return self.mlp(hidden) + hidden.flip(1)

    backbone = built("llama")
    layer: Any = backbone.layers[-1]
    layer.mlp = Mixed(layer.mlp)
    assert position_wise_end(backbone.model, layer) == []
