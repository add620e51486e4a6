"""Hidden states at some positions alone."""

import types
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from utils.families import FAMILIES, built, some_ids, view_of

from lm_objectives.backbone.position_wise import position_wise_end
from lm_objectives.views import View

# As the families' code in transformers has them, behind the attention.
END = {
    "llama": ["post_attention_layernorm", "mlp"],
    "gpt2": ["ln_2", "mlp"],
    "gpt_neox": ["post_attention_dropout", "post_attention_layernorm", "mlp", "post_mlp_dropout"],
    "bert": ["intermediate", "output"],
    "electra": ["intermediate", "output"],
    "modernbert": ["mlp_norm", "mlp"],
    "gemma3_text": ["post_attention_layernorm", "pre_feedforward_layernorm", "mlp", "post_feedforward_layernorm"],
    "albert": [],  # a group of layers, whose own are not looked for
}
FEW = torch.tensor([2, 7, 12 + 5, 24 + 1])  # of 36


def labelled(view: View, positions: Tensor) -> View:
    """The view with labels at some flat positions."""
    return replace(view, label_positions=positions, targets=positions)


def assert_whole(backbone: Any, view: View, **tolerance: float) -> None:
    """The states are those of the whole pass, and a whole pass stays what it was."""
    with torch.no_grad():
        [whole] = backbone.encode([view])
        expected = whole.flatten(0, 1)[view.label_positions]
        torch.testing.assert_close(backbone.encode_labelled(view), expected, **tolerance)
        assert torch.equal(backbone.encode([view])[0], whole)


@pytest.mark.parametrize("family", END)
def test_what_runs_behind_the_attention_is_found(family: str) -> None:
    """Oracle: the names, read in the code of transformers."""
    backbone = built(family)
    last = backbone.layers[-1]
    names = {module: name for name, module in last.named_modules()}
    assert [names[module] for module in position_wise_end(backbone.model, last, 12)] == END[family]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("attention", ["bidirectional", "causal"])
def test_states_are_those_of_the_whole_pass(family: str, attention: Any) -> None:
    """Oracle: the whole pass, from which the positions are taken."""
    view = labelled(view_of(some_ids(3), attention, [12, 9, 5]), FEW)
    assert_whole(built(family), view, rtol=1e-5, atol=1e-6)


def test_of_any_view_and_in_any_precision() -> None:
    """Oracle: the same; packed rows, a prefix, token types, double and half precision, an encoder-decoder's encoder."""
    tight = {"rtol": 1e-5, "atol": 1e-6}
    packed = torch.cat([torch.arange(7), torch.arange(5)]).expand(3, 12)
    assert_whole(built("llama"), labelled(view_of(some_ids(3), "causal", position_ids=packed), FEW), **tight)
    prefix = view_of(some_ids(3), "prefix", prefix_lengths=torch.tensor([4, 6, 2]))
    assert_whole(built("llama"), labelled(prefix, FEW), **tight)
    types_of = (torch.arange(12) > 5).long().expand(3, 12)
    segments = labelled(view_of(some_ids(3), "bidirectional", token_type_ids=types_of), FEW)
    assert_whole(built("bert"), segments, **tight)
    assert_whole(built("t5"), labelled(view_of(some_ids(3), "bidirectional"), FEW), **tight)
    assert_whole(built("bert").double(), segments, rtol=1e-12, atol=1e-12)
    with torch.autocast("cpu", torch.bfloat16):
        assert_whole(built("bert"), segments, rtol=0.02, atol=0.02)


def test_the_end_of_the_last_layer_runs_at_the_positions_alone_where_they_are_few() -> None:
    """Oracle: the number of states that its feed-forward network is given, in this layer and in the one before."""
    backbone, seen = built("llama"), []
    for layer in backbone.layers:
        inner = layer.get_submodule("mlp.down_proj")
        inner.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[:2]))
    few = labelled(view_of(some_ids(3), "causal"), torch.tensor([3, 20]))
    backbone.encode_labelled(few)
    assert seen[-2:] == [(3, 12), (1, 2)]
    backbone.encode_labelled(labelled(few, torch.arange(36)))
    assert seen[-2:] == [(3, 12), (3, 12)]
    backbone.train().encode_labelled(few)
    assert seen[-2:] == [(3, 12), (3, 12)]


class Mixed(nn.Module):
    """A mixer in place of a feed-forward network, as FNet's."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, hidden: Tensor) -> Tensor:
        return self.inner(hidden) + hidden.flip(1)


def mixing(layer: Any) -> None:
    layer.mlp = Mixed(layer.mlp)


def mixing_outside(layer: Any) -> None:
    """No module of the layer mixes; what it does with their outputs does."""
    own = layer.forward
    layer.forward = types.MethodType(
        lambda self, hidden, *a, **k: own(hidden, *a, **k) + own(hidden, *a, **k).flip(1), layer
    )


def twice(layer: Any) -> None:
    layer.post_attention_layernorm = layer.mlp


@pytest.mark.parametrize("change", [mixing, mixing_outside, twice])
def test_a_layer_runs_whole_whose_end_mixes_or_cannot_be_told(change: Any) -> None:
    """Oracle: such layers; what runs before a mixer is needed everywhere."""
    backbone = built("llama")
    change(backbone.layers[-1])
    assert position_wise_end(backbone.model, backbone.layers[-1], 12) == []
    assert_whole(backbone, labelled(view_of(some_ids(3), "causal"), FEW))


@pytest.mark.parametrize(
    ("family", "positions"), [("gpt2", "max_position_embeddings"), ("bert", "max_position_embeddings")]
)
def test_a_short_table_of_positions_is_no_hindrance(family: str, positions: str) -> None:
    """Oracle: the whole pass of rows that are as long as the table."""
    backbone = built(family, 3, **{positions: 3})
    assert_whole(
        backbone, labelled(view_of(some_ids(3, 3), "bidirectional"), torch.tensor([1, 5])), rtol=1e-5, atol=1e-6
    )
