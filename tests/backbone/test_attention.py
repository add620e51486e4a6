"""Layers with windows, which views keep whatever their attention."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from utils.families import FAMILIES, VOCABULARY, some_ids, view_of

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.views import Attention

TIME, PREFIX = 12, 5
ONE_LAYER: dict[str, dict[str, Any]] = {
    "mistral": {},
    "gemma3_text": {"layer_types": ["sliding_attention"]},
    "modernbert": {"layer_types": ["sliding_attention"]},
    "qwen3": {"use_sliding_window": True, "sliding_window": 4, "layer_types": ["sliding_attention"]},
    "olmo3": FAMILIES["llama"] | {"sliding_window": 4, "layer_types": ["sliding_attention"]},
    "phi3": FAMILIES["llama"] | {"sliding_window": 4},
}
WIDTH = {"modernbert": 3}  # its local_attention of 4 is 2 places on each side and a token's own; the others' w is 4


def telling(family: str, **changes: Any) -> Backbone:
    """A model whose states tell what they depend on."""
    backbone = Backbone(family, FAMILIES.get(family, {}) | ONE_LAYER.get(family, {}) | changes)
    backbone.setup(VOCABULARY, TIME)
    torch.manual_seed(0)
    for parameter in backbone.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.5 * parameter.shape[-1] ** -0.5)
    return backbone.double().eval()


def may_see(attention: Attention) -> Tensor:
    """Whether a place, the first axis, may see another, the second, by the definition of its attention."""
    places = torch.arange(TIME)
    if attention == "bidirectional":
        return torch.ones(TIME, TIME, dtype=torch.bool)
    return (places <= places[:, None]) | (places < PREFIX) & (attention == "prefix")


@torch.no_grad()
def depends(backbone: Backbone, attention: Attention, lengths: list[int] | None, **fields: Tensor) -> Tensor:
    """Which states of the first row, the first axis, move with which tokens, the second: brute force."""
    base = some_ids(1, TIME)
    ids = base.repeat(TIME + 1, 1)
    ids[1:].diagonal().copy_((base[0] - 3) % 60 + 4)
    fields = {name: value.expand(TIME + 1, *value.shape) for name, value in fields.items()}
    lengths = lengths and lengths * (TIME + 1)
    [hidden] = backbone.encode([view_of(ids, attention, lengths, **fields)])
    return ((hidden[1:] - hidden[0]).abs().amax(-1) > 1e-12).T


@pytest.mark.parametrize("family", ONE_LAYER)
@pytest.mark.parametrize("attention", ["causal", "bidirectional", "prefix"])
@pytest.mark.parametrize("length", [TIME, 9])
@pytest.mark.parametrize("packed", [False, True])
def test_a_layer_keeps_its_window(family: str, attention: Attention, length: int, packed: bool) -> None:
    """Oracle: |i - j| < w and the definition of the attention, over parts and padding; states by brute force."""
    fields = {"prefix_lengths": torch.tensor(PREFIX)} if attention == "prefix" else {}
    places, part = torch.arange(TIME), torch.zeros(TIME)
    if packed:
        fields["position_ids"] = torch.tensor([0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4])
        part = (places >= 7).double()
    sees = depends(telling(family, num_hidden_layers=1), attention, [length], **fields)
    near = (places[:, None] - places).abs() < WIDTH.get(family, 4)
    expected = may_see(attention) & near & (part[:, None] == part) & (places < length)
    assert torch.equal(sees[:length], expected[:length])


@pytest.mark.parametrize("attention", ["causal", "bidirectional", "prefix"])
def test_layers_of_two_kinds_each_have_their_own(attention: Attention) -> None:
    """Oracle: the layers one after another, each under a mask of its own that is written out here."""
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    backbone, ids = telling("gemma3_text", num_hidden_layers=3, layer_types=kinds), some_ids(2, TIME)
    places, may = torch.arange(TIME), may_see(attention)
    seen = {"full_attention": may, "sliding_attention": may & ((places[:, None] - places).abs() < 4)}
    masks = {kind: torch.zeros(1, 1, TIME, TIME).double().masked_fill(~mask, -torch.inf) for kind, mask in seen.items()}
    model = backbone.model
    with torch.no_grad():
        hidden = model.embed_tokens(ids)
        for layer, kind in zip(model.layers, kinds, strict=True):
            rotary = model.rotary_emb(hidden, places[None], kind)
            hidden = layer(hidden, attention_mask=masks[kind], position_embeddings=rotary)
        prefix = torch.full((2,), PREFIX) if attention == "prefix" else None
        [ours] = backbone.encode([view_of(ids, attention, prefix_lengths=prefix)])
    torch.testing.assert_close(ours, model.norm(hidden), rtol=1e-9, atol=1e-9)


def test_padding_beyond_every_window_is_finite() -> None:
    """A place that sees nothing at all would be NaN, and so would gradients be."""
    backbone = telling("mistral")
    [hidden] = backbone.encode([view_of(some_ids(1, TIME), "bidirectional", [2])])
    hidden[:, :2].sum().backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in backbone.parameters())
    assert hidden.isfinite().all()
