"""Per-objective gradients where some objectives, or all, have a decoder write: by aliases, and one block apart."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from utils.families import SEQ2SEQ, built, some_ids, view_of

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.corruptions.base import Corruption
from lm_objectives.corruptions.masked_lm import TokenMasking
from lm_objectives.corruptions.text_denoising import TextInfilling
from lm_objectives.training.gradients import GradientStore
from lm_objectives.views import View

every_family = pytest.mark.parametrize("family", SEQ2SEQ)
MIXES: dict[str, Mapping[str, Corruption]] = {
    "some": {"written": TextInfilling(), "read": TokenMasking()},
    "all": {"written": TextInfilling(), "other": TextInfilling()},
    "none": {"read": TokenMasking(), "other": TokenMasking()},
}
every_mix = pytest.mark.parametrize("mix", MIXES)


def views(mix: str) -> list[View]:
    """Rows of one length; written ones of seven tokens."""
    ids = some_ids()
    plain = [view_of(ids, "bidirectional"), view_of(ids.flip(0) // 2 + 4, "bidirectional", [12, 7])]
    written = some_ids(time=7) - 1
    return [
        replace(view, decoder_labels=written.roll(index, 0)) if corruption.uses_decoder else view
        for index, (view, corruption) in enumerate(zip(plain, MIXES[mix].values(), strict=True))
    ]


def loss(hidden: Tensor, embedding: Tensor) -> Tensor:
    """By a tied head."""
    return (hidden @ embedding.T / 6).logsumexp(-1).sum()


def by_autograd(backbone: Backbone, mix: str, names: list[str]) -> Tensor:
    """The oracle: a forward and a backward of its own for each objective, `(objectives, parameters)`."""
    parameters = dict(backbone.model.named_parameters())
    rows = []
    for view in views(mix):
        value = loss(*backbone.encode([view]), backbone.embedding)
        chosen = [parameters[name] for name in names]
        found = torch.autograd.grad(value, chosen, allow_unused=True, materialize_grads=True)
        rows.append(torch.cat([gradient.flatten() for gradient in found]))
    return torch.stack(rows)


def store_for(backbone: Backbone, names: list[str]) -> GradientStore:
    parameters = dict(backbone.model.named_parameters())
    return GradientStore({name: parameters[name] for name in names}, 2)


@every_family
@every_mix
@pytest.mark.parametrize("last_layer", [True, False])
def test_bit_equal_to_autograd(family: str, mix: str, last_layer: bool) -> None:
    """The tied embedding among them, which an encoder knows by another name than the whole model does."""
    backbone = built(family, corruptions=MIXES[mix])
    names = backbone.layer_parameters(-1) if last_layer else backbone.shared_parameters()
    assert last_layer or backbone.embedding_name in names
    store = store_for(backbone, names)
    total = torch.zeros(())
    for index, view in enumerate(views(mix)):
        aliases = store.aliases(index)
        [hidden] = backbone.encode([view], aliases)
        total = total + loss(hidden, aliases.get(backbone.embedding_name, backbone.embedding))
    total.backward()
    assert torch.equal(store.gradients, by_autograd(backbone, mix, names))
    assert store.gradients.abs().sum(1).min() > 0


@every_family
@every_mix
@pytest.mark.parametrize("number", [-1, 0])
def test_one_block_apart_in_a_shared_pass(family: str, mix: str, number: int) -> None:
    """Oracles: the same pass without it, and `torch.autograd.grad`; a batch of 4 rows rounds as one of 2 does."""
    backbone = built(family, corruptions=MIXES[mix])
    names, pair = backbone.layer_parameters(number), views(mix)
    store = store_for(backbone, names)
    total = torch.zeros(())
    for group in [[0], [1]] if mix == "some" else [[0, 1]]:
        read = [pair[index] for index in group]
        hidden = backbone.encode_split_layer(read, number, [store.aliases(index) for index in group])
        for plain, states in zip(backbone.encode(read), hidden, strict=True):
            torch.testing.assert_close(states, plain, rtol=1e-5, atol=1e-5)
            total = total + loss(states, backbone.embedding)
    total.backward()
    oracle = by_autograd(backbone, mix, names)
    assert torch.linalg.norm(store.gradients - oracle) <= 1e-5 * torch.linalg.norm(oracle)
    assert store.gradients.abs().sum(1).min() > 0
    assert "forward" not in backbone.layers[number].__dict__


@pytest.mark.parametrize("mix", ["all", "none"])
def test_first_block_of_t5_makes_the_position_biases_of_all(mix: str) -> None:
    """T5's other blocks add the first one's biases; each objective's gradient of them comes through its own rows."""
    backbone = built("t5", corruptions=MIXES[mix])
    [bias] = [name for name in backbone.layer_parameters(0) if "relative_attention_bias" in name]
    store, pair = store_for(backbone, backbone.layer_parameters(0)), views(mix)
    hidden = backbone.encode_split_layer(pair, 0, [store.aliases(0), store.aliases(1)])
    sum(loss(states, backbone.embedding) for states in hidden).backward()
    torch.testing.assert_close(store.of([bias]), by_autograd(backbone, mix, [bias]), rtol=1e-4, atol=1e-5)
