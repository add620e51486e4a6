"""Families whose attention is what views ask for, and what is said of those whose is not."""

from typing import Any

import pytest
import torch
from utils.families import COUNTING, FAMILIES, SEQ2SEQ, VOCABULARY, built

from lm_objectives.backbone.attention_check import check_attention, find_leak
from lm_objectives.backbone.backbone import Backbone
from lm_objectives.backbone.config import new_config
from lm_objectives.corruptions.base import Corruption
from lm_objectives.objectives import CausalLM, MaskedLM

every_family = pytest.mark.parametrize("family", [*FAMILIES, *SEQ2SEQ])
TIME = 12
_SMALL = FAMILIES["llama"] | {"tie_word_embeddings": False}


@every_family
@pytest.mark.parametrize("training", [True, False])
def test_no_leak_is_found_and_nothing_changes(family: str, training: bool) -> None:
    backbone, numbers = built(family).train(training), torch.get_rng_state()
    check_attention(backbone.config)
    with torch.no_grad():
        for parameter in backbone.parameters():  # large enough to be seen
            if parameter.ndim > 1:
                parameter.normal_(std=parameter.shape[-1] ** -0.5, generator=torch.Generator().manual_seed(0))
    assert find_leak(backbone.model) is None
    assert all(module.training is training for module in backbone.modules())
    assert torch.equal(numbers, torch.get_rng_state())


@pytest.mark.parametrize(
    ("model_type", "arguments", "found"),
    [
        ("bert-generation", FAMILIES["bert"], "a causal view sees what follows"),
        ("nemotron", _SMALL, "a bidirectional view does not see what follows"),
        ("stablelm", _SMALL, "a bidirectional view does not see what follows"),
        # which is found first depends on the version of transformers
        (
            "recurrent_gemma",
            _SMALL | {"lru_width": 32},
            "a (bidirectional view does not see what follows|causal view sees beyond its windows)",
        ),
        ("jamba", _SMALL | {"use_mamba_kernels": False}, "a bidirectional view does not see what follows"),
        ("qwen3_next", _SMALL | {"num_hidden_layers": 4}, ""),
        ("falcon", {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "alibi": True}, ""),
        (
            "opt",
            {"num_hidden_layers": 2, "hidden_size": 32, "word_embed_proj_dim": 32, "num_attention_heads": 4},
            "a view raises",
        ),
        ("esm", FAMILIES["bert"], "a view raises"),
    ],
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_families_whose_attention_cannot_be_set_are_refused(
    model_type: str, arguments: dict[str, Any], found: str, device: str
) -> None:
    message = f"^expected a backbone whose attention can be set, found {model_type}, where {found}.*bert are examples$"
    with pytest.raises(ValueError, match=message) as caught, torch.device(device):
        Backbone(model_type, arguments).setup(VOCABULARY, 12)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_table_shorter_than_the_rows_of_the_probe_is_no_hindrance(family: str) -> None:
    built(family, 3, max_position_embeddings=3)


@pytest.mark.parametrize(
    ("family", "arguments"),
    [*FAMILIES.items(), *((family, FAMILIES["roberta"]) for family in COUNTING), ("t5", SEQ2SEQ["t5"])],
)
def test_families_that_take_position_ids_pack(family: str, arguments: dict[str, Any]) -> None:
    assert Backbone(family, arguments).supports_packing is (family != "t5")


def test_a_family_that_takes_one_mask_for_all_layers_is_refused_for_the_views_that_need_more() -> None:
    """UltraBERT's layers get one mask, whatever their kind."""
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    size |= {"sliding_window": 4, "layer_types": ["full_attention", "sliding_attention"]}
    corruptions: dict[str, Corruption] = {"masked": MaskedLM().corruption}
    Backbone("ultrabert", size).setup(VOCABULARY, TIME, corruptions)
    corruptions["causal"] = CausalLM().corruption
    message = (
        "^expected a backbone that keeps its windows in bidirectional and causal views, found ultrabert, whose full"
    )
    with pytest.raises(ValueError, match=message) as caught:
        Backbone("ultrabert", size).setup(VOCABULARY, TIME, corruptions)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("heads", "width"), [(2, 64), (12, 64), (4, 256)])
def test_heads_of_t5_may_be_wide(heads: int, width: int) -> None:
    """Its attention does not divide by their width: random weights too large look at one token alone."""
    size = {"d_model": 128, "d_kv": width, "num_heads": heads, "d_ff": 352, "feed_forward_proj": "gated-silu"}
    check_attention(new_config("t5", size, VOCABULARY))


def _reads_ahead(backbone: Backbone, arguments: dict[str, Any]) -> None:
    arguments["decoder_input_ids"] = arguments["decoder_input_ids"].roll(-1, 1)


def _reads_nothing(backbone: Backbone, arguments: dict[str, Any]) -> None:
    arguments["input_ids"] = torch.full_like(arguments["input_ids"], 5)


def _forgets(backbone: Backbone, arguments: dict[str, Any]) -> None:
    arguments["decoder_input_ids"] = torch.full_like(arguments["decoder_input_ids"], 5)


def _reads_padding(backbone: Backbone, arguments: dict[str, Any]) -> None:
    arguments.pop("attention_mask", None)


@pytest.mark.parametrize("family", ["t5", "bart"])
@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (_reads_ahead, "a decoder sees the label to predict"),
        (_forgets, "a decoder does not see the labels before"),
        (_reads_nothing, "a decoder does not see what the encoder reads"),
        (_reads_padding, "a decoder with padding before it sees the padding"),
    ],
)
def test_the_probe_finds_what_is_wrong(family: str, wrong: Any, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = built(family)
    with torch.no_grad():
        for parameter in backbone.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=parameter.shape[-1] ** -0.5, generator=torch.Generator().manual_seed(0))
    forward = backbone.model.forward

    def broken(**arguments: Any) -> Any:
        wrong(backbone, arguments)
        return forward(**arguments)

    monkeypatch.setattr(backbone.model, "forward", broken)
    assert find_leak(backbone.model) == found


@pytest.mark.parametrize(
    ("model_type", "arguments", "message"),
    [
        (
            "fsmt",
            SEQ2SEQ["bart"],
            "expected a backbone whose attention can be set, found fsmt, where a decoder sees the label to predict",
        ),
        (
            "prophetnet",
            {"hidden_size": 32, "num_encoder_layers": 2, "num_decoder_layers": 2},
            "expected a prophetnet backbone whose depth can be set, found NotImplementedError",
        ),
        ("bart", SEQ2SEQ["bart"] | {"max_position_embeddings": 8}, "at most 8, the positions of this bart backbone"),
    ],
)
def test_families_that_cannot_be_are_refused(model_type: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Backbone(model_type, arguments).setup(VOCABULARY, 12)
    assert "\n" not in str(caught.value)
