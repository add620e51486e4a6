"""What views see of their rows over all families, the layers of a model, and folders to start from."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from utils.families import ENCODERS, FAMILIES, VOCABULARY, built, some_ids, view_of

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.views import Vocabulary

every_family = pytest.mark.parametrize("family", FAMILIES)
# where some layer sees the whole row; the windows of others are asked of one layer in `test_attention`
every_whole = pytest.mark.parametrize(
    "family", [family for family in FAMILIES if family not in ("mistral", "gemma3_text")]
)


def states(backbone: Backbone, *views: Any) -> list[Tensor]:
    with torch.no_grad():
        return backbone.encode(list(views))


def moved(before: Tensor, after: Tensor) -> Tensor:
    """Whether the state of each position is another one, `(time,)`; all rows agree on none."""
    return (before != after).any(-1).any(0)


@every_family
@pytest.mark.parametrize("lengths", [None, [12, 9]])
def test_causal_view_does_not_see_the_future(family: str, lengths: list[int] | None) -> None:
    backbone, ids = built(family), some_ids()
    [before] = states(backbone, view_of(ids, "causal", lengths))
    for changed in (1, 6, 8):
        other = ids.clone()
        other[:, changed] = (ids[:, changed] - 3) % 60 + 4
        [after] = states(backbone, view_of(other, "causal", lengths))
        assert not moved(before, after)[:changed].any()
        assert (before != after).any(-1)[:, changed].all()


@every_whole
@pytest.mark.parametrize("lengths", [None, [12, 9]])
def test_bidirectional_view_sees_both_ways(family: str, lengths: list[int] | None) -> None:
    backbone, ids = built(family), some_ids()
    other = ids.clone()
    other[:, 7] = (ids[:, 7] - 3) % 60 + 4
    [before] = states(backbone, view_of(ids, "bidirectional", lengths))
    [after] = states(backbone, view_of(other, "bidirectional", lengths))
    real = slice(0, 9)
    assert (before != after).any(-1)[:, real].all()


@every_family
@pytest.mark.parametrize("attention", ["causal", "bidirectional"])
def test_what_padding_holds_moves_nothing(family: str, attention: Any) -> None:
    backbone, ids = built(family), some_ids()
    ids[1, 7:] = VOCABULARY.pad
    other = ids.clone()
    other[1, 7:] = 9
    [before] = states(backbone, view_of(ids, attention, [12, 7]))
    [after] = states(backbone, view_of(other, attention, [12, 7]))
    assert torch.equal(before[0], after[0])
    assert torch.equal(before[1, :7], after[1, :7])


@every_family
@pytest.mark.parametrize("attention", ["causal", "bidirectional"])
def test_padded_row_is_the_row_alone(family: str, attention: Any) -> None:
    """Oracle: the same tokens in a window of their own length, where no mask is needed."""
    backbone, ids = built(family), some_ids()
    [padded] = states(backbone, view_of(ids, attention, [12, 7]))
    [alone] = states(backbone, view_of(ids[1:, :7], attention))
    torch.testing.assert_close(padded[1:, :7], alone, rtol=1e-5, atol=1e-5)


@every_family
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_mixed_pass_is_the_separate_passes(family: str, dtype: torch.dtype, tolerance: float) -> None:
    backbone = built(family).to(dtype)
    views = [
        view_of(some_ids(3), "causal"),
        view_of(some_ids(2) - 1, "bidirectional", [12, 7]),
        view_of(some_ids(2) // 2 + 4, "bidirectional", token_type_ids=(torch.arange(12) > 5).long().expand(2, -1)),
    ]
    for mixed, view in zip(states(backbone, *views), views, strict=True):
        [alone] = states(backbone, view)
        real = torch.arange(12) < view.lengths[:, None]
        torch.testing.assert_close(mixed[real], alone[real], rtol=0, atol=tolerance)


POSITIONS = torch.tensor([[0, 1, 2, 3, 4, 0, 1, 2, 0, 1, 2, 3], [0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4]])
PARTS = [(0, 0, 5), (0, 5, 8), (0, 8, 12), (1, 0, 7), (1, 7, 12)]  # row, first position, one past the last


@every_family
@pytest.mark.parametrize("attention", ["causal", "bidirectional"])
def test_each_document_of_a_packed_row_is_as_if_alone(family: str, attention: Any) -> None:
    """Oracle: each document in a row of its own, whose attention and positions need no argument."""
    backbone, ids = built(family).double(), some_ids()
    beside = view_of(some_ids(3) - 1, "causal" if attention == "bidirectional" else "bidirectional")
    view = view_of(ids, attention, [12, 10], position_ids=POSITIONS)
    for packed in (states(backbone, view)[0], states(backbone, view, beside)[0]):
        for row, start, stop in PARTS:
            stop = min(stop, [12, 10][row])
            [alone] = states(backbone, view_of(ids[row : row + 1, start:stop], attention))
            torch.testing.assert_close(packed[row, start:stop], alone[0], rtol=0, atol=1e-6)


@every_family
@pytest.mark.parametrize("attention", ["causal", "bidirectional"])
def test_no_document_of_a_packed_row_sees_another(family: str, attention: Any) -> None:
    backbone, ids = built(family), some_ids()
    [before] = states(backbone, view_of(ids, attention, position_ids=POSITIONS))
    for row, start, stop in PARTS:
        other = ids.clone()
        other[row, start:stop] = (ids[row, start:stop] - 3) % 60 + 4
        [after] = states(backbone, view_of(other, attention, position_ids=POSITIONS))
        changed = (before != after).any(-1)
        inside = torch.zeros(2, 12, dtype=torch.bool)
        inside[row, start:stop] = True
        assert torch.equal(changed, inside)  # all of it has changed, so that windows do not matter


@every_whole
def test_a_prefix_sees_itself_and_the_rest_what_precedes(family: str) -> None:
    """Oracle: which states a changed token moves, position by position."""
    backbone, ids, prefix = built(family), some_ids(), torch.tensor([5, 0])
    [before] = states(backbone, view_of(ids, "prefix", prefix_lengths=prefix))
    for changed in range(12):
        other = ids.clone()
        other[:, changed] = (ids[:, changed] - 3) % 60 + 4
        [after] = states(backbone, view_of(other, "prefix", prefix_lengths=prefix))
        moved = (before != after).any(-1)
        for row, length in enumerate(prefix.tolist()):
            first = 0 if changed < length else changed
            assert torch.equal(moved[row], torch.arange(12) >= first)


@every_family
def test_own_attention_is_the_familys(family: str) -> None:
    """Oracle: the Hugging Face model called on its own, without any argument of ours."""
    backbone, ids = built(family), some_ids()
    own = "bidirectional" if family in ENCODERS else "causal"
    [here] = states(backbone, view_of(ids, own))
    with torch.no_grad():
        assert torch.equal(here, backbone.model(input_ids=ids).last_hidden_state)


def test_layers_are_not_experts_where_a_mixture_has_more_experts() -> None:
    backbone = built("llama")
    layers = list(backbone.model.layers)
    layers[0].experts = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(5))
    assert backbone.layers == layers


@pytest.mark.parametrize("family", ["llama", "albert", "t5"])
def test_layers_are_searched_for_once(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search goes over all modules; for each pass anew its time would grow with the depth squared."""
    backbone = built(family)
    number, names = len(backbone.layers) - 1, backbone.shared_parameters()
    found = backbone.layers, backbone.layer_name(number), backbone.layer_parameters(-1), backbone.embedding_name
    monkeypatch.setattr(torch.nn.Module, "named_modules", lambda *_: pytest.fail("searched for again"))
    assert (backbone.layers, backbone.layer_name(number)) == found[:2]
    assert backbone.embedding_name == found[3]
    assert backbone.model.get_submodule(found[1]) is backbone.layers[-1]
    assert backbone.within_layers(names)[-len(found[2]) :] == found[2]


def test_layers_are_those_of_a_copy_of_a_moved_model_and_of_one_built_anew() -> None:
    """Oracle: the modules in the family's own list."""
    backbone = built("llama")
    assert backbone.layers == list(backbone.model.layers)
    copied = copy.deepcopy(backbone).double()
    assert copied.layers == list(copied.model.layers) != backbone.layers
    assert dict(copied.model.named_parameters())[copied.embedding_name] is copied.embedding
    backbone.arguments = backbone.arguments | {"num_hidden_layers": 3}
    backbone.setup(VOCABULARY, 12)
    assert backbone.layers == list(backbone.model.layers)
    assert len(backbone.layers) == 3
    assert backbone.layer_parameters(-1) == [
        name for name in backbone.shared_parameters() if name.startswith("layers.2.")
    ]


@pytest.mark.parametrize("family", ["bert", "roberta", "electra"])
def test_segments_are_read_where_the_family_has_them(family: str) -> None:
    backbone, ids = built(family, type_vocab_size=2), some_ids()
    halves = (torch.arange(12) > 5).long().expand(2, -1)
    [without] = states(backbone, view_of(ids, "bidirectional"))
    [zeros] = states(backbone, view_of(ids, "bidirectional", token_type_ids=torch.zeros_like(ids)))
    [with_them] = states(backbone, view_of(ids, "bidirectional", token_type_ids=halves))
    assert torch.equal(without, zeros)
    assert not torch.equal(without, with_them)


@every_family
def test_stand_ins_are_read_instead_of_the_parameters(family: str) -> None:
    backbone, view = built(family), view_of(some_ids(), "bidirectional")
    [before] = states(backbone, view)
    doubled = {name: 2 * parameter.detach() for name, parameter in backbone.model.named_parameters()}
    with torch.no_grad():
        [after] = backbone.encode([view], doubled)
    assert not torch.equal(before, after)
    assert torch.equal(before, states(backbone, view)[0])


@every_family
@pytest.mark.parametrize("fraction", [0.25, 0.5, 1.0])
def test_shrunk_has_no_token_embedding_and_reads_vectors_or_by_the_larger_ones(family: str, fraction: float) -> None:
    backbone = built(family)
    small = backbone.scaled_width(fraction)
    embeddings = backbone.embedding_parameters() if backbone.factorized else None
    embedded = None if embeddings else torch.randn(2, 12, small.dim)
    for attention in ("bidirectional", "causal"):
        [hidden] = small.encode([view_of(some_ids(), attention, [12, 7])], embeddings, embedded)
        assert hidden.shape == (2, 12, small.dim)
        assert hidden.isfinite().all()
    assert small.dim == pytest.approx(fraction * backbone.dim, abs=4)
    assert len(small.layers) == len(backbone.layers)
    assert all(VOCABULARY.size not in parameter.shape for parameter in small.parameters())


@every_family
def test_every_parameter_is_reached(family: str) -> None:
    """Oracle: autograd. DDP crashes on a parameter that no loss reaches."""
    backbone = built(family)
    [hidden] = backbone.encode([view_of(some_ids(), "bidirectional")])
    hidden.square().sum().backward()
    assert [name for name, parameter in backbone.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_starts_from_a_folder(family: str, tmp_path: Path) -> None:
    made = built(family)
    made.model.save_pretrained(tmp_path)
    read = Backbone(pretrained=str(tmp_path))
    read.setup(VOCABULARY, 12)
    view = view_of(some_ids(), "bidirectional", [12, 7])
    assert torch.equal(states(made, view)[0], states(read.eval(), view)[0])


def test_folder_grows_for_added_tokens(tmp_path: Path) -> None:
    made = built("llama")
    made.model.save_pretrained(tmp_path)
    read = Backbone(pretrained=str(tmp_path))
    read.setup(Vocabulary(size=70, pad=0, bos=1, eos=2, mask=69, special=(0, 1, 2, 67, 68, 69)), 12)
    assert read.embedding.shape == (70, 32)
    assert torch.equal(read.embedding[:67], made.embedding)


def test_folder_with_rows_for_no_token_is_cut(tmp_path: Path) -> None:
    """Some models round their vocabulary up; heads are of the tokenizer's size."""
    made = built("llama")
    made.model.save_pretrained(tmp_path)
    read = Backbone(pretrained=str(tmp_path))
    read.setup(Vocabulary(size=60, pad=0, bos=1, eos=2, mask=3, special=(0, 1, 2, 3)), 12)
    assert torch.equal(read.embedding, made.embedding[:60])


def test_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    built("bert").model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"^expected safetensors weights in .*: check model.backbone.pretrained$"):
        Backbone(pretrained=str(tmp_path)).setup(VOCABULARY, 12)


def test_folder_with_another_configuration_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"^expected a configuration of transformers in .*: check model") as caught:
        Backbone(pretrained=str(tmp_path)).setup(VOCABULARY, 12)
    assert "\n" not in str(caught.value)


def test_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^expected a folder with a config.json at .*, found none: check the path$"):
        Backbone(pretrained=str(tmp_path)).setup(VOCABULARY, 12)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, "neither"),
        ({"config": {"hidden_size": 32}}, "neither"),
        ({"model_type": "llama", "pretrained": "somewhere"}, "both"),
        ({"config": {"hidden_size": 32}, "pretrained": "somewhere"}, "both"),
    ],
)
def test_type_or_folder(given: dict[str, Any], found: str) -> None:
    """A folder has its sizes, and others beside it would be left unread."""
    with pytest.raises(
        ValueError, match=f"^expected either a model_type .*or a pretrained folder .* found {found}: set"
    ):
        Backbone(**given)
