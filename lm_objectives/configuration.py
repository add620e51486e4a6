"""What a Hugging Face configuration says of its model, and whether that can be the backbone."""

import copy
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

_COUNT_FROM_PADDING = ("roberta", "xlm-roberta", "camembert")  # and take what they are given as it is


def check_config(config: Any) -> None:
    """Raise where a configuration is not that of a model which can be the backbone."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    kind = config.model_type
    if config.is_encoder_decoder:
        raise ValueError(
            f"expected a decoder-only or encoder-only backbone, found {kind}, which is both: "
            "llama and bert are examples"
        )
    heads = getattr(config, "num_attention_heads", None)
    if not is_language_model(kind) or heads is None:
        raise ValueError(f"expected a language model with attention heads, found {kind}: llama and bert are examples")
    if not getattr(MODEL_MAPPING[type(config)], "_supports_sdpa", False):
        raise ValueError(
            f"expected a backbone with sdpa attention, found {kind}, whose other attention lets own masks leak: "
            "choose another model_type"
        )
    if config.hidden_size % heads and not getattr(config, "head_dim", None):
        raise ValueError(
            f"expected a hidden_size that num_attention_heads divides, found {config.hidden_size} and {heads}: "
            "change one of them in model.backbone.config"
        )
    shared = getattr(config, "num_key_value_heads", None) or heads
    if heads % shared:
        raise ValueError(
            f"expected num_key_value_heads that divide num_attention_heads, found {shared} and {heads}: "
            "change one of them in model.backbone.config"
        )
    if config.num_hidden_layers < 1:
        raise ValueError(
            f"expected num_hidden_layers of at least 1, found {config.num_hidden_layers}: raise it in "
            "model.backbone.config"
        )


def from_config(config: Any) -> nn.Module:
    """A model of this configuration with fresh weights and sdpa attention; a `ValueError` where it cannot be made."""
    from transformers import AutoModel

    with one_line(f"a {config.model_type} configuration that builds", "change model.backbone.config"):
        return AutoModel.from_config(config, attn_implementation="sdpa", trust_remote_code=False)


def narrowed(config: Any, fraction: float) -> Any:
    """A configuration of `fraction` of the width, with heads about as wide."""
    config = copy.deepcopy(config)
    heads = max(int(config.num_attention_heads * fraction), 1)
    width = max(round(config.hidden_size * fraction / heads / 2) * 2, 2) * heads  # rotary halves need even heads
    if getattr(config, "num_key_value_heads", None):
        config.num_key_value_heads = max(heads * config.num_key_value_heads // config.num_attention_heads, 1)
        while heads % config.num_key_value_heads:
            config.num_key_value_heads -= 1
    if getattr(config, "head_dim", None):
        config.head_dim = width // heads
    for name in ("intermediate_size", "n_inner"):
        if getattr(config, name, None):
            setattr(config, name, max(int(getattr(config, name) * fraction), 8))
    for name in ("embedding_size", "query_pre_attn_scalar"):
        if getattr(config, name, None):
            setattr(config, name, width if name == "embedding_size" else config.head_dim)
    config.hidden_size, config.num_attention_heads = width, heads
    return config


@contextmanager
def one_line(expected: str, mend: str) -> Iterator[None]:
    """Whatever transformers raises for impossible sizes and unfit files, as one line."""
    from huggingface_hub.errors import StrictDataclassError

    unfit = (ValueError, TypeError, RuntimeError, AssertionError, ArithmeticError, LookupError, OSError)
    try:
        yield
    except (*unfit, StrictDataclassError) as error:
        cause = error.__cause__ if isinstance(error, StrictDataclassError) and error.__cause__ else error
        reason = " ".join(str(cause).split()).rstrip(".")
        raise ValueError(f"expected {expected}, found {type(cause).__name__} ({reason}): {mend}") from error


def is_language_model(model_type: str) -> bool:
    """Whether transformers has a causal or a masked head for a family."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    return model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES


def is_decoder(model_type: str) -> bool:
    """Whether a family attends causally of itself: it has a causal head in transformers and no masked one."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    return model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and model_type not in MODEL_FOR_MASKED_LM_MAPPING_NAMES


def has_windows(config: Any) -> bool:
    """Whether some layers attend to a neighbourhood only, so that an own mask would change what they see."""
    kinds = set(getattr(config, "layer_types", None) or [])
    sliding = getattr(config, "sliding_window", None) is not None and getattr(config, "use_sliding_window", True)
    return bool(kinds - {"full_attention"}) or sliding or getattr(config, "local_attention", None) is not None


def first_position(config: Any) -> int:
    """The number of a row's first position: 0, or the one after the padding's own where a family counts so."""
    return config.pad_token_id + 1 if config.model_type in _COUNT_FROM_PADDING else 0


def takes_positions(config: Any) -> bool:
    """Whether a family's model can be told the position of each token."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    model: Any = MODEL_MAPPING[type(config)]
    return "position_ids" in inspect.signature(model.forward).parameters


def positions_of(config: Any) -> int | None:
    """The longest window a configuration's position embeddings hold; `None` where nothing bounds it."""
    limit = getattr(config, "max_position_embeddings", None)
    return None if limit is None else limit - first_position(config)
