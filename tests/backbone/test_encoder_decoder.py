"""Encoder-decoders as backbones: what each side sees, who learns, and what makes no sense on them."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from utils.families import FAMILIES, SEQ2SEQ, VOCABULARY, built, some_ids, view_of

from lm_objectives import Pretraining
from lm_objectives.backbone.backbone import Backbone
from lm_objectives.corruptions.base import Corruption
from lm_objectives.corruptions.causal_lm import NextToken
from lm_objectives.corruptions.masked_lm import TokenMasking
from lm_objectives.corruptions.span_denoising import SpanCorruption
from lm_objectives.corruptions.text_denoising import TextInfilling
from lm_objectives.data.plan import ObjectiveRows, check_row_sharing
from lm_objectives.objectives import CausalLM, MaskedLM, Objective, ReplacedToken, SpanDenoising, TextDenoising
from lm_objectives.views import View, Vocabulary

every_family = pytest.mark.parametrize("family", SEQ2SEQ)
ALL: Mapping[str, Corruption] = {"written": TextInfilling(), "spans": SpanCorruption()}
SOME: Mapping[str, Corruption] = {"written": TextInfilling(), "masked": TokenMasking()}
NONE: Mapping[str, Corruption] = {"masked": TokenMasking()}
WRITTEN = 7  # tokens that the decoder writes in a row


def written(ids: Tensor | None = None, lengths: list[int] | None = None) -> View:
    """A view of two rows that a decoder writes `WRITTEN` tokens for."""
    view = view_of(some_ids() if ids is None else ids, "bidirectional", lengths)
    return replace(view, decoder_labels=some_ids(time=WRITTEN) - 1)


def state(backbone: Backbone, view: View) -> Tensor:
    with torch.no_grad():
        return backbone.encode([view])[0]


def other(ids: Tensor, position: int) -> Tensor:
    """The tokens with another one at a position."""
    changed = ids.clone()
    changed[:, position] = (ids[:, position] - 3) % 60 + 4
    return changed


@every_family
@pytest.mark.parametrize("lengths", [None, [12, 9]])
def test_is_the_familys_own_model(family: str, lengths: list[int] | None) -> None:
    """Oracle: the Hugging Face model and its encoder called on their own, shifted by a loop."""
    backbone, view = built(family, corruptions=ALL), written(lengths=lengths)
    assert view.decoder_labels is not None
    reads = torch.full_like(view.decoder_labels, backbone.config.decoder_start_token_id)
    for position in range(1, WRITTEN):
        reads[:, position] = view.decoder_labels[:, position - 1]
    mask = (torch.arange(12) < view.lengths[:, None]).long()
    with torch.no_grad():
        encoded = backbone.model.get_encoder()(input_ids=view.input_ids, attention_mask=mask).last_hidden_state
        whole = backbone.model(input_ids=view.input_ids, attention_mask=mask, decoder_input_ids=reads).last_hidden_state
    real = mask.bool()
    torch.testing.assert_close(
        state(backbone, replace(view, decoder_labels=None))[real], encoded[real], rtol=0, atol=1e-5
    )
    torch.testing.assert_close(state(backbone, view), whole, rtol=0, atol=1e-5)
    assert state(backbone, view).shape == (2, WRITTEN, 32)


@every_family
@pytest.mark.parametrize("position", [0, 3, WRITTEN - 1])
def test_a_decoder_sees_what_it_has_written_alone(family: str, position: int) -> None:
    """Oracle: which states a changed token moves; the state that writes a token does not see it."""
    backbone, view = built(family, corruptions=ALL), written()
    assert view.decoder_labels is not None
    changed = replace(view, decoder_labels=other(view.decoder_labels, position))
    moved = (state(backbone, view) != state(backbone, changed)).any(-1)
    assert torch.equal(moved, (torch.arange(WRITTEN) > position).expand(2, -1))


@every_family
def test_a_decoder_sees_all_that_is_read_but_padding(family: str) -> None:
    backbone, view = built(family, corruptions=ALL), written(lengths=[12, 7])
    before = state(backbone, view)
    for position in (0, 6):
        assert (before != state(backbone, replace(view, input_ids=other(view.input_ids, position)))).any(-1).all()
    behind = state(backbone, replace(view, input_ids=other(view.input_ids, 9)))
    assert (before != behind).any(-1).tolist() == [[True] * WRITTEN, [False] * WRITTEN]


@every_family
def test_an_encoder_sees_both_ways_but_no_padding(family: str) -> None:
    backbone, view = built(family), view_of(some_ids(), "bidirectional", [12, 7])
    before = state(backbone, view)
    assert (before != state(backbone, replace(view, input_ids=other(view.input_ids, 5)))).any(-1)[:, :7].all()
    behind = state(backbone, replace(view, input_ids=other(view.input_ids, 9)))
    assert torch.equal(before[1, :7], behind[1, :7]) and (before[0] != behind[0]).any(-1).all()


@every_family
def test_views_in_one_pass_are_the_views_alone(family: str) -> None:
    backbone = built(family, corruptions=ALL).double()
    for views in (
        [written(), written(some_ids() // 2 + 4, [12, 7])],
        [view_of(some_ids(), "bidirectional"), view_of(some_ids(3) - 1, "bidirectional", [12, 7, 3])],
    ):
        with torch.no_grad():
            together = backbone.encode(views)
        for view, states in zip(views, together, strict=True):
            torch.testing.assert_close(states, state(backbone, view), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("family", "token"), [("t5", "pad"), ("pegasus", "pad"), ("bart", "eos"), ("mbart", "eos"), ("blenderbot", "bos")]
)
def test_a_decoder_starts_with_the_familys_own_token(family: str, token: str) -> None:
    """Oracle: the families' papers and codes; the ids are this tokenizer's, not those of the published vocabulary."""
    vocabulary = Vocabulary(size=67, pad=5, bos=6, eos=7, mask=8, special=(5, 6, 7, 8))
    backbone = Backbone(family, SEQ2SEQ[family])
    backbone.setup(vocabulary, 12)
    assert backbone.config.decoder_start_token_id == getattr(vocabulary, token)
    assert getattr(backbone.config, "forced_eos_token_id", None) in (None, vocabulary.eos)


def test_sizes_by_the_names_that_all_families_share() -> None:
    """T5 makes its decoder as deep as its encoder, by whichever name that is given."""
    shared = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "d_kv": 8, "d_ff": 48}
    backbone = Backbone("t5", shared)
    backbone.setup(VOCABULARY, 12, ALL)
    assert (backbone.config.num_layers, backbone.config.num_decoder_layers) == (2, 2)
    assert len(backbone.layers) == 4


# Who learns, and which layers are shared.


@every_family
@pytest.mark.parametrize(("corruptions", "learns"), [(ALL, True), (SOME, True), (NONE, False)])
def test_a_decoder_learns_where_an_objective_has_it_write(
    family: str, corruptions: Mapping[str, Corruption], learns: bool
) -> None:
    """Oracle: autograd, over all views that the objectives have. DDP crashes on a parameter that no loss reaches."""
    backbone = built(family, corruptions=corruptions)
    assert backbone.has_frozen_decoder is not learns
    views = [
        written() if corruption.uses_decoder else view_of(some_ids(), "bidirectional")
        for corruption in corruptions.values()
    ]
    for view in views:
        backbone.encode([view])[0].square().sum().backward()
    idle = [
        name for name, parameter in backbone.named_parameters() if parameter.requires_grad and parameter.grad is None
    ]
    assert idle == []
    assert any("decoder" in name for name in backbone.shared_parameters()) is learns


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_what_a_step_without_written_rows_does_not_reach(family: str) -> None:
    """Oracle: autograd."""
    backbone, view = built(family, corruptions=SOME), view_of(some_ids(), "bidirectional")
    backbone.encode([view])[0].sum().backward()
    missed = {id(parameter) for parameter in backbone.parameters() if parameter.grad is None}
    assert missed and {id(parameter) for parameter in backbone.unused_parameters([view])} == missed
    assert backbone.unused_parameters([view, written()]) == []
    assert built(family, corruptions=NONE).unused_parameters([view]) == []
    assert built("bert").unused_parameters([view]) == []


@pytest.mark.parametrize("family", ["t5", "bart"])
@pytest.mark.parametrize(
    ("corruptions", "depth", "side"), [(ALL, 4, "decoder"), (SOME, 2, "encoder"), (NONE, 2, "encoder")]
)
def test_last_shared_layer_is_the_deepest_that_every_objective_reaches(
    family: str, corruptions: Mapping[str, Corruption], depth: int, side: str
) -> None:
    backbone = built(family, corruptions=corruptions)
    assert len(backbone.layers) == depth
    assert backbone.layer_name(-1).startswith(side) and backbone.layer_name(-1).endswith(".1")
    assert backbone.layer_name(0).startswith("encoder") and backbone.layer_name(0).endswith(".0")
    inside = backbone.within_layers(backbone.shared_parameters())
    assert backbone.shared_parameters()[: len(inside)] == inside
    assert any(name.startswith("decoder") for name in inside) is (side == "decoder")
    assert set(backbone.layer_parameters(-1)) <= set(inside)


def test_a_decoder_that_does_not_learn_is_said_once(
    train: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "lm_objectives"):
        train(Backbone("t5", SEQ2SEQ["t5"]), {"masked": MaskedLM()})
    said = [record.message for record in caplog.records if "decoder" in record.message]
    assert said == ["the decoder of t5 does not learn: no objective has it write"]


@every_family
def test_generator_of_replaced_tokens_is_an_encoder(family: str) -> None:
    small = built(family).scaled_width(0.5)
    assert all("decoder" not in name for name, _ in small.named_parameters())
    [hidden] = small.encode([view_of(some_ids(), "bidirectional", [12, 7])], embedded=torch.randn(2, 12, small.dim))
    hidden.sum().backward()
    assert all(parameter.grad is not None for parameter in small.parameters() if parameter.requires_grad)


# What makes no sense.


@pytest.mark.parametrize(
    ("family", "objective", "message"),
    [
        (
            "llama",
            TextDenoising(),
            "expected a backbone with an encoder and a decoder for objective it, found llama: t5",
        ),
        ("bert", SpanDenoising(), "expected a backbone with an encoder and a decoder for objective it, found bert: t5"),
        (
            "t5",
            CausalLM(),
            "expected objectives that read both ways on a t5 backbone, .* found it with causal attention",
        ),
        (
            "bart",
            SpanDenoising(layout="prefix"),
            "on a bart backbone, .* found it with prefix attention: choose a decoder",
        ),
    ],
)
def test_objectives_that_make_no_sense_are_one_clear_line(family: str, objective: Objective, message: str) -> None:
    module = Pretraining(Backbone(family, (FAMILIES | SEQ2SEQ)[family]), {"it": objective})
    with pytest.raises(ValueError, match=message) as caught:
        module.build(VOCABULARY, 12, 1, "meta")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "guest", "writer"),
    [
        (TextInfilling(), TokenMasking(), "host"),
        (TokenMasking(), TextInfilling(), "guest"),
        (TextInfilling(), SpanCorruption(), "guest"),
    ],
)
def test_rows_that_a_decoder_writes_for_are_not_shared(host: Corruption, guest: Corruption, writer: str) -> None:
    message = (
        f"^expected objectives that read the same rows for shares_rows_with of objective guest, found {writer}, "
        "which .*decoder.*: give guest rows of its own$"
    )
    with pytest.raises(ValueError, match=message):
        check_row_sharing({"host": ObjectiveRows(host), "guest": ObjectiveRows(guest, shares_rows_with="host")})


@pytest.mark.parametrize(
    "objective", [MaskedLM(), ReplacedToken(), TextDenoising(), SpanDenoising(), SpanDenoising(layout="prefix")]
)
def test_who_has_a_decoder_write(objective: Objective) -> None:
    writes = isinstance(objective, (TextDenoising, SpanDenoising)) and objective.corruption.attention == "bidirectional"
    assert objective.corruption.uses_decoder is writes
    assert not NextToken().uses_decoder
