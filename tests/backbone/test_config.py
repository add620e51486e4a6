"""What is read in configurations, and what is said of impossible ones."""

from typing import Any

import pytest
from utils.families import FAMILIES, VOCABULARY, WINDOWED, built

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.backbone.config import sliding_windows
from lm_objectives.errors import InputError

every_family = pytest.mark.parametrize("family", FAMILIES)
TIME = 12


@every_family
def test_windows_are_known(family: str) -> None:
    assert any(sliding_windows(built(family).config).values()) is (family in WINDOWED)


@pytest.mark.parametrize(
    ("model_type", "arguments", "message"),
    [
        ("lama", {}, "expected a model_type that transformers knows, found 'lama': did you mean .*llama"),
        ("zzzzzz", {}, "found 'zzzzzz': llama, gpt2, bert and roberta are some"),
        ("llama", {"hiden_size": 32}, "found 'hiden_size': did you mean hidden_size?"),
        (
            "llama",
            {"hidden_size": 30, "num_attention_heads": 4},
            r"The hidden size \(30\) is not a multiple of the number of attention heads \(4\)\): change model.backbone",
        ),
        (
            "bert",
            {"hidden_size": 30, "num_attention_heads": 4},
            "expected a hidden_size that num_attention_heads divides, found 30 and 4: change one of them",
        ),
        (
            "llama",
            {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 3},
            "expected num_key_value_heads that divide num_attention_heads, found 3 and 4: change one of them",
        ),
        (
            "bert",
            {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 0},
            "expected num_hidden_layers of at least 1, found 0: raise it",
        ),
        (
            "gpt2",
            {"n_positions": 8},
            "expected data.seq_len of at most 8, the positions of this gpt2 backbone, found 12",
        ),
        ("bert", {"max_position_embeddings": 8}, "at most 8, the positions of this bert backbone, found 12"),
        ("roberta", {"max_position_embeddings": 12}, "at most 11, the positions of this roberta backbone, found 12"),
        ("t5", FAMILIES["bert"] | {"d_kv": 8}, "expected arguments of a t5 configuration"),
        (
            "deberta-v2",
            {"num_hidden_layers": 1, "hidden_size": 24, "num_attention_heads": 4},
            "expected a backbone with sdpa attention, found deberta-v2, whose other attention lets own masks leak",
        ),
        ("mamba", {}, "expected a language model with attention heads, found mamba: llama and bert are examples"),
        ("trocr", {}, "expected a language model with attention heads, found trocr"),  # has no model without a head
        ("nougat", {}, "expected a nougat configuration that builds, found ValueError"),
        ("bert", {"num_attention_heads": 0}, "expected num_attention_heads of at least 1, found 0: raise it in model"),
        ("clip", {}, "expected a language model with attention heads, found clip"),
        ("vit", {}, "expected a language model with attention heads, found vit"),
        ("llama", {"num_attention_heads": 0}, "expected a llama configuration that builds, found ZeroDivisionError"),
        ("llama", {"hidden_size": "wide"}, "expected a llama configuration that builds, found TypeError"),
        (
            "llama",
            {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 1, "hidden_act": "none"},
            r"expected a llama configuration that builds, found KeyError \('none'\): change model.backbone.config",
        ),
    ],
)
def test_impossible_configurations_are_one_clear_line(model_type: str, arguments: dict[str, Any], message: str) -> None:
    backbone = Backbone(model_type, arguments)
    with pytest.raises(InputError, match=message) as caught:
        backbone.setup(VOCABULARY, 12)
    assert "\n" not in str(caught.value)


def test_rows_longer_than_a_chunk_are_refused() -> None:
    size = FAMILIES["llama"] | {"attention_chunk_size": 8, "num_local_experts": 2, "intermediate_size_mlp": 48}
    Backbone("llama4_text", size).setup(VOCABULARY, 8)
    with pytest.raises(ValueError, match=r"^expected data.seq_len of at most 8, the chunk that .* found 12: shorten"):
        Backbone("llama4_text", size).setup(VOCABULARY, TIME)
