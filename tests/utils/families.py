"""Tiny configurations of the backbone families that are promised to work."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.corruptions.base import Corruption
from lm_objectives.views import Attention, View, Vocabulary

VOCABULARY = Vocabulary(size=67, pad=0, bos=1, eos=2, mask=3, special=(0, 1, 2, 3))
SENTINELS = replace(VOCABULARY, named_tokens=tuple((f"<extra_id_{number}>", 57 + number) for number in range(10)))

_COMMON: dict[str, Any] = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4}
_WIDE: dict[str, Any] = _COMMON | {"intermediate_size": 48}
_GROUPED: dict[str, Any] = _WIDE | {"num_key_value_heads": 2}
_ENCODER: dict[str, Any] = _WIDE | {
    "max_position_embeddings": 40,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": _GROUPED | {"tie_word_embeddings": True},
    "qwen3": _GROUPED | {"head_dim": 8},
    "mistral": _GROUPED | {"sliding_window": 4},
    "olmo": _GROUPED,
    "olmo2": _GROUPED,
    "gpt2": _COMMON | {"n_positions": 40, "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0},
    "gpt_neox": _WIDE,
    "bert": _ENCODER,
    "roberta": _ENCODER,
    "electra": _ENCODER | {"embedding_size": 16},
    "albert": _ENCODER | {"embedding_size": 16, "classifier_dropout_prob": 0.0},
    "modernbert": _WIDE | {"local_attention": 4, "layer_types": ["full_attention", "sliding_attention"]},
    "gemma3_text": _GROUPED | {"head_dim": 8, "sliding_window": 4, "query_pre_attn_scalar": 8},
}
_T5: dict[str, Any] = {"d_model": 32, "num_heads": 4, "d_kv": 8, "d_ff": 48, "num_layers": 2, "dropout_rate": 0.0}
_BART: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 40,
    "dropout": 0.0,
}
SEQ2SEQ: dict[str, dict[str, Any]] = {
    "t5": _T5,
    "mt5": _T5,
    "umt5": _T5,
    "bart": _BART,
    "mbart": _BART,
    "pegasus": _BART,
    "blenderbot": _BART,
    "m2m_100": _BART,
}
ENCODERS = ("bert", "roberta", "electra", "albert", "modernbert")
WINDOWED = ("mistral", "modernbert", "gemma3_text")
COUNTING = ("roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "camembert", "data2vec-text")


def built(
    family: str,
    window: int = 12,
    corruptions: Mapping[str, Corruption] | None = None,
    vocabulary: Vocabulary = VOCABULARY,
    **changes: Any,
) -> Backbone:
    """A fresh backbone that does not drop out, the same each time."""
    torch.manual_seed(0)
    sizes = FAMILIES | SEQ2SEQ | dict.fromkeys(COUNTING, _ENCODER)
    backbone = Backbone(family, sizes[family] | changes)
    backbone.setup(vocabulary, window, corruptions)
    return backbone.eval()


def view_of(
    ids: torch.Tensor, attention: Attention, lengths: list[int] | None = None, **fields: torch.Tensor | None
) -> View:
    """A view of `ids` that nothing is scored in."""
    rows, time = ids.shape
    lengths = lengths or [time] * rows
    none = torch.zeros(0, dtype=torch.long)
    return View(ids, torch.tensor(lengths), attention, none, none, {}, min(lengths) < time, **fields)


def some_ids(rows: int = 2, time: int = 12) -> torch.Tensor:
    """Ordinary tokens."""
    return torch.randint(4, VOCABULARY.size, (rows, time), generator=torch.Generator().manual_seed(1))
