"""What a Hugging Face configuration says of its model, and whether that can be the backbone."""

import copy
import inspect
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import torch
from torch import nn

from lm_objectives.corruptions.base import Corruption
from lm_objectives.errors import InputError
from lm_objectives.views import Vocabulary

_UNIT_EMBEDDINGS = ("t5", "mt5", "umt5", "longt5", "switch_transformers")


_SCALED_WHERE_TIED = ("umt5", "switch_transformers")  # T5's own configuration says whether it is


def new_config(model_type: str, arguments: dict[str, Any], vocabulary: Vocabulary) -> Any:
    """A configuration of a family with its vocabulary's size and special tokens.

    Raises:
        ValueError: for an unknown family, an argument that it does not have, or one that it cannot have.
    """
    from transformers import CONFIG_MAPPING, AutoConfig

    if model_type not in CONFIG_MAPPING:
        near = get_close_matches(model_type, CONFIG_MAPPING.keys(), 3, 0.5)
        raise InputError(
            f"expected a model_type that transformers knows, found {model_type!r}: "
            + (f"did you mean {' or '.join(near)}?" if near else "llama, gpt2, bert and roberta are some")
        )
    kind = CONFIG_MAPPING[model_type]
    other_names = getattr(kind, "attribute_map", {})
    known = set(inspect.signature(kind.__init__).parameters) | set(other_names)
    for name in arguments:
        if name not in known and not hasattr(kind(), name):
            near = get_close_matches(name, known, 1)
            raise InputError(
                f"expected arguments of a {model_type} configuration in model.backbone.config, found {name!r}"
                + (f": did you mean {near[0]}?" if near else ": leave it out")
            )
    own = {other_names.get(name, name): value for name, value in arguments.items()}  # which defaults are made from
    tokens = {"pad_token_id": vocabulary.pad, "bos_token_id": vocabulary.bos, "eos_token_id": vocabulary.eos}
    roles = {"cls_token_id": vocabulary.bos, "sep_token_id": vocabulary.eos}  # where a family knows them
    tokens |= {name: token for name, token in roles.items() if name in known}
    if getattr(kind, "is_encoder_decoder", False):
        tokens["decoder_start_token_id"] = tokens[_starts_with(kind())]
        if getattr(kind(), "forced_eos_token_id", None) is not None:
            tokens["forced_eos_token_id"] = vocabulary.eos  # what BART's text ends with where it grows too long
    with wrap_errors(f"a {model_type} configuration that builds", "change model.backbone.config"):
        return AutoConfig.for_model(model_type, **tokens | own | {"vocab_size": vocabulary.size})


def saved_config(saved: dict[str, Any]) -> Any:
    """The configuration that its `to_dict` wrote down, but for the precision of its weights."""
    from transformers import CONFIG_MAPPING

    return CONFIG_MAPPING[saved["model_type"]].from_dict(saved | {"dtype": None})


def _starts_with(config: Any) -> str:
    """Which special token a family's decoder reads first: T5's and Pegasus' padding, BART's and mBART's eos."""
    first = getattr(config, "decoder_start_token_id", None)
    if first is None:
        return "pad_token_id" if config.model_type in _UNIT_EMBEDDINGS else "eos_token_id"
    roles = ("pad_token_id", "bos_token_id", "eos_token_id")
    return next((role for role in roles if getattr(config, role, None) == first), "eos_token_id")


def check_config(config: Any) -> None:
    """Raise where a configuration is not that of a model which can be the backbone."""
    kind = config.model_type
    heads = getattr(config, "num_attention_heads", None)
    if not is_language_model(kind) or heads is None:
        raise InputError(f"expected a language model with attention heads, found {kind}: llama and bert are examples")
    if attention_kind(config) != "sdpa" and not config.is_encoder_decoder:
        raise InputError(
            f"expected a backbone with sdpa attention, found {kind}, whose other attention lets own masks leak: "
            "choose another model_type"
        )
    if config.hidden_size % heads and not getattr(config, "head_dim", None):
        raise InputError(
            f"expected a hidden_size that num_attention_heads divides, found {config.hidden_size} and {heads}: "
            "change one of them in model.backbone.config"
        )
    shared = getattr(config, "num_key_value_heads", None) or heads
    if heads % shared:
        raise InputError(
            f"expected num_key_value_heads that divide num_attention_heads, found {shared} and {heads}: "
            "change one of them in model.backbone.config"
        )
    if config.num_hidden_layers < 1:
        raise InputError(
            f"expected num_hidden_layers of at least 1, found {config.num_hidden_layers}: raise it in "
            "model.backbone.config"
        )


def check_chunks(config: Any, window: int) -> None:
    """Raise where layers see the chunk alone that a place lies in, and rows are longer than such."""
    chunked = any("chunk" in kind for kind in getattr(config, "layer_types", None) or [])
    if chunked and window > (chunk := config.attention_chunk_size):
        raise InputError(
            f"expected data.seq_len of at most {chunk}, the chunk that layers of this {config.model_type} backbone see, "
            f"which own masks do not keep, found {window}: shorten data.seq_len or raise attention_chunk_size in "
            "model.backbone.config"
        )


def check_corruptions(config: Any, corruptions: Mapping[str, Corruption]) -> None:
    """Raise where a family cannot read, or write, what an objective's corruption makes."""
    family = config.model_type
    for name, corruption in corruptions.items():
        if corruption.uses_decoder and not config.is_encoder_decoder:
            raise InputError(
                f"expected a backbone with an encoder and a decoder for objective {name}, found {family}: "
                "t5 and bart are examples"
            )
        if config.is_encoder_decoder and corruption.attention != "bidirectional":
            raise InputError(
                f"expected objectives that read both ways on a {family} backbone, which has an encoder, found {name} "
                f"with {corruption.attention} attention: choose a decoder-only backbone such as llama for it"
            )


def attention_kind(config: Any) -> str:
    """The implementation of attention that a family's model is made with: the only one where it has no sdpa."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    return "sdpa" if getattr(MODEL_MAPPING[type(config)], "_supports_sdpa", False) else "eager"


def new_model(config: Any) -> nn.Module:
    """A model of this configuration with fresh weights; a `ValueError` where it cannot be made.

    Where `positions.settle` has said at which number positions begin, the model is made as if the padding were the
    token before that number, and then given the padding's true id: its table of positions is as long as it is said to
    be, whatever that id.
    """
    from transformers import AutoModel

    with wrap_errors(f"a {config.model_type} configuration that builds", "change model.backbone.config"):
        pad, first = config.pad_token_id, first_position(config)
        config.pad_token_id = first - 1 if first else pad
        try:
            model = AutoModel.from_config(config, attn_implementation=attention_kind(config), trust_remote_code=False)
        finally:
            config.pad_token_id = pad
        if first:
            _exchange(model, first - 1, pad)
        if config.is_encoder_decoder and not config.tie_word_embeddings:
            share_embedding(model)
        return model


@torch.no_grad()
def _exchange(model: Any, other: int, pad: int) -> None:
    """Let the padding have the row of the embedding that another token has, which is 0, and that its."""
    weight = model.get_input_embeddings().weight
    weight[[other, pad]] = weight[[pad, other]]
    set_padding(model, pad)


def set_padding(model: Any, pad: int) -> None:
    """Let the row of the padding be the one of the token embedding that gets no gradient, where a family has such."""
    weight = model.get_input_embeddings().weight
    for module in model.modules():
        if isinstance(module, nn.Embedding) and module.weight is weight and module.padding_idx is not None:
            module.padding_idx = pad


def share_embedding(model: Any) -> None:
    """Let encoder and decoder read one table; what BART's code does not tie to its head, it does not tie at all."""
    model.set_input_embeddings(model.get_input_embeddings())


def scaled_config(config: Any, fraction: float) -> Any:
    """A configuration of `fraction` of the width, with heads about as wide."""
    config = copy.deepcopy(config)
    heads, wide = max(round(config.num_attention_heads * fraction), 1), config.hidden_size
    width = max(round(config.hidden_size * fraction / heads / 2) * 2, 2) * heads  # rotary halves need even heads
    if getattr(config, "num_key_value_heads", None):
        config.num_key_value_heads = max(heads * config.num_key_value_heads // config.num_attention_heads, 1)
        while heads % config.num_key_value_heads:
            config.num_key_value_heads -= 1
    if getattr(config, "head_dim", None):
        config.head_dim = width // heads
    for name in ("intermediate_size", "n_inner", "d_ff", "encoder_ffn_dim", "decoder_ffn_dim"):
        if getattr(config, name, None):
            setattr(config, name, max(round(getattr(config, name) * width / wide), 8))
    for name in ("embedding_size", "query_pre_attn_scalar"):
        if getattr(config, name, None):
            setattr(config, name, width if name == "embedding_size" else config.head_dim)
    if getattr(config, "decoder_attention_heads", None):
        config.decoder_attention_heads = heads
    config.hidden_size, config.num_attention_heads = width, heads
    return config


@contextmanager
def wrap_errors(expected: str, mend: str) -> Iterator[None]:
    """Whatever transformers raises for impossible sizes and unfit files, as one line."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    unfit = (ValueError, TypeError, RuntimeError, AssertionError, ArithmeticError, LookupError, OSError)
    try:
        yield
    except (*unfit, StrictDataclassError, SafetensorError) as error:
        cause = error.__cause__ if isinstance(error, StrictDataclassError) and error.__cause__ else error
        reason = re.split(r"\. (?=[A-Z])", " ".join(str(cause).split()))[0].rstrip(".")  # what follows is advice
        raise InputError(f"expected {expected}, found {type(cause).__name__} ({reason}): {mend}") from error


def is_language_model(model_type: str) -> bool:
    """Whether transformers has a causal, a masked or a sequence-to-sequence head for a family."""
    from transformers.models.auto import modeling_auto as auto

    return (
        model_type in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        or model_type in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
        or model_type in auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    )


def is_decoder(model_type: str) -> bool:
    """Whether a family attends causally of itself: it has a causal head in transformers and no masked one."""
    from transformers.models.auto import modeling_auto as auto

    causal = model_type in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    return causal and model_type not in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES


def ties_head(config: Any) -> bool:
    """Whether a family's own head over the vocabulary is its token embedding.

    Transformers ties T5's always, and takes `tie_word_embeddings` for whether its output is scaled, as T5's is and that
    of its version 1.1, whose head is its own, is not.
    """
    return getattr(config, "scale_decoder_outputs", config.tie_word_embeddings)


def scales_output(config: Any) -> bool:
    """Whether a family's head reads hidden states that are divided by the square root of their width."""
    tied = config.tie_word_embeddings and config.model_type in _SCALED_WHERE_TIED
    return getattr(config, "scale_decoder_outputs", tied)


def draws_unit_embeddings(config: Any) -> bool:
    """Whether a family draws its token embedding with a standard deviation of 1."""
    return config.model_type in _UNIT_EMBEDDINGS


def sliding_windows(config: Any) -> dict[str, int | None]:
    """How far each kind of layer sees, w in |i - j| < w with a token's own place counted; `None`: the whole row.

    Decoders of transformers give w as `sliding_window`; its encoders give w - 1, the places on each side: ModernBERT's
    `local_attention` of 128 is 64 places on each side (Warner et al. 2024, section 2.1.1), so its w is 65.
    """
    window = getattr(config, "sliding_window", None)
    if window is not None and not is_decoder(config.model_type):
        window += 1
    kinds = getattr(config, "layer_types", None)
    if kinds:
        return {kind: window if "sliding" in kind else None for kind in kinds}
    return {"": window if getattr(config, "use_sliding_window", True) else None}


def first_position(config: Any) -> int:
    """The number of a row's first position: 0, but where a family keeps rows of its table for padding."""
    return getattr(config, "first_position", 0)


def accepts_position_ids(config: Any) -> bool:
    """Whether a family's model can be told the position of each token."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    model: Any = MODEL_MAPPING[type(config)]
    return "position_ids" in inspect.signature(model.forward).parameters


def max_positions(config: Any) -> int | None:
    """The longest window a configuration's position embeddings hold; `None` where nothing bounds it."""
    limit = getattr(config, "max_position_embeddings", None)
    return None if limit is None else max(limit - first_position(config), 0)
