"""Hugging Face configurations and fresh models, checked and read in one way for all families."""

import copy
import inspect
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import torch
from torch import nn

from lm_objectives.backbone.limits import check_memory, check_numbers
from lm_objectives.corruptions.base import Corruption
from lm_objectives.errors import InputError, expect
from lm_objectives.views import Vocabulary

_UNIT_EMBEDDINGS = ("t5", "mt5", "umt5", "longt5", "switch_transformers")


def new_config(model_type: str, arguments: dict[str, Any], vocabulary: Vocabulary) -> Any:
    """A configuration of a family with its vocabulary's size and special tokens.

    Raises:
        InputError: for an unknown family, an argument that it does not have, or one that it cannot have.
    """
    from transformers import CONFIG_MAPPING, AutoConfig

    if model_type not in CONFIG_MAPPING:
        near = get_close_matches(model_type, CONFIG_MAPPING.keys(), 3, 0.5)
        raise InputError(
            f"expected a model_type that transformers knows, found {model_type!r}: "
            + (f"did you mean {' or '.join(near)}?" if near else "llama, gpt2, bert and roberta are some")
        )
    with wrap_errors(f"a {model_type} configuration that builds", "change model.backbone.config"):
        default: Any = CONFIG_MAPPING[model_type]()
    other_names = default.attribute_map
    known = set(inspect.signature(type(default).__init__).parameters) | set(other_names)
    for name in arguments:
        if name not in known and not hasattr(default, name):
            near = get_close_matches(name, known, 1)
            raise InputError(
                f"expected arguments of a {model_type} configuration in model.backbone.config, found {name!r}"
                + (f": did you mean {near[0]}?" if near else ": leave it out")
            )
    check_numbers(arguments)
    own = {other_names.get(name, name): value for name, value in arguments.items()}  # which defaults are made from
    tokens = {"pad_token_id": vocabulary.pad, "bos_token_id": vocabulary.bos, "eos_token_id": vocabulary.eos}
    roles = {"cls_token_id": vocabulary.bos, "sep_token_id": vocabulary.eos}  # where a family knows them
    tokens |= {name: token for name, token in roles.items() if name in known}
    if default.is_encoder_decoder:
        tokens["decoder_start_token_id"] = tokens[_decoder_start(default)]
        if getattr(default, "forced_eos_token_id", None) is not None:
            tokens["forced_eos_token_id"] = vocabulary.eos  # what BART's text ends with where it grows too long
    with wrap_errors(f"a {model_type} configuration that builds", "change model.backbone.config"):
        return AutoConfig.for_model(model_type, **tokens | own | {"vocab_size": vocabulary.size})


def saved_config(saved: dict[str, Any]) -> Any:
    """The configuration with this `to_dict`, except for the precision of its weights."""
    from transformers import CONFIG_MAPPING

    return CONFIG_MAPPING[saved["model_type"]].from_dict(saved | {"dtype": None})


def _decoder_start(config: Any) -> str:
    """Name of the token that a family's decoder reads first: T5's and Pegasus' padding, BART's and mBART's eos."""
    first = getattr(config, "decoder_start_token_id", None)
    if first is None:
        return "pad_token_id" if config.model_type in _UNIT_EMBEDDINGS else "eos_token_id"
    roles = ("pad_token_id", "bos_token_id", "eos_token_id")
    return next((role for role in roles if getattr(config, role, None) == first), "eos_token_id")


def check_config(config: Any) -> None:
    """Raise where a configuration is not that of a model which can be the backbone."""
    from transformers.models.auto import modeling_auto as auto

    kind = config.model_type
    with wrap_errors(f"a {kind} backbone whose layers have equal numbers of heads", "choose another model_type"):
        heads = getattr(config, "num_attention_heads", None)
    language_models = (
        auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        | auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
        | auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    )
    if kind not in language_models or type(config) not in auto.MODEL_MAPPING or heads is None:
        raise InputError(f"expected a language model with attention heads, found {kind}: llama and bert are examples")
    found = f"{kind}, whose other attention lets own masks leak"
    keeps_masks = attention_kind(config) == "sdpa" or config.is_encoder_decoder
    expect(keeps_masks, "a backbone with sdpa attention", found, "choose another model_type")
    for name in ("num_attention_heads", "num_hidden_layers"):
        number = getattr(config, name)
        expect(number >= 1, f"{name} of at least 1", number, "raise it in model.backbone.config")
    dim, mend = config.hidden_size, "change one of them in model.backbone.config"
    divides = not dim % heads or bool(getattr(config, "head_dim", None))
    expect(divides, "a hidden_size that num_attention_heads divides", f"{dim} and {heads}", mend)
    shared = getattr(config, "num_key_value_heads", None) or heads
    expect(not heads % shared, "num_key_value_heads that divide num_attention_heads", f"{shared} and {heads}", mend)


def check_seq_len(config: Any, seq_len: int) -> None:
    """Raise where rows are longer than a model's position embeddings, or than the chunks that its layers see."""
    family, limit = config.model_type, getattr(config, "max_position_embeddings", None)
    if limit is not None:
        limit = max(limit - first_position(config), 0)
        expected = f"data.seq_len of at most {limit}, the positions of this {family} backbone"
        mend = "shorten data.seq_len or raise max_position_embeddings in model.backbone.config"
        expect(seq_len <= limit, expected, seq_len, mend)
    if any("chunk" in kind for kind in getattr(config, "layer_types", None) or []):
        chunk = config.attention_chunk_size
        layers = f"the chunk that layers of this {family} backbone see, which own masks do not keep"
        mend = "shorten data.seq_len or raise attention_chunk_size in model.backbone.config"
        expect(seq_len <= chunk, f"data.seq_len of at most {chunk}, {layers}", seq_len, mend)


def check_corruptions(config: Any, corruptions: Mapping[str, Corruption]) -> None:
    """Raise where a family cannot encode, or decode, the rows of an objective's corruption."""
    family = config.model_type
    for name, corruption in corruptions.items():
        expected = f"a backbone with an encoder and a decoder for objective {name}"
        mend = "t5 and bart are examples"
        expect(not corruption.uses_decoder or config.is_encoder_decoder, expected, family, mend)
        if config.is_encoder_decoder and corruption.attention != "bidirectional":
            raise InputError(
                f"expected objectives that read both ways on a {family} backbone, which has an encoder, found {name} "
                f"with {corruption.attention} attention: choose a decoder-only backbone such as llama for it"
            )


def attention_kind(config: Any) -> str:
    """The `attn_implementation` of a family's model: sdpa, or eager where the family has no sdpa."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    return "sdpa" if getattr(MODEL_MAPPING[type(config)], "_supports_sdpa", False) else "eager"


def new_model(config: Any) -> nn.Module:
    """A model of this configuration with fresh weights, without a head.

    Where the configuration has a `first_position` (see `set_first_position`), the model is made as if the padding were
    the token before that number, and then given the padding's true id, so that its table of positions is as long as
    `max_position_embeddings` says, whatever that id.

    Raises:
        InputError: where it cannot be made.
    """
    from transformers import AutoModel

    with wrap_errors(f"a {config.model_type} configuration that builds", "change model.backbone.config"):
        pad, first = config.pad_token_id, first_position(config)
        config.pad_token_id = first - 1 if first else pad
        try:
            model = AutoModel.from_config(config, attn_implementation=attention_kind(config), trust_remote_code=False)
        finally:
            config.pad_token_id = pad
        if first:  # the padding gets the row of the embedding that is 0
            with torch.no_grad():
                weight = model.get_input_embeddings().weight
                weight[[first - 1, pad]] = weight[[pad, first - 1]]
            set_padding(model, pad)
        if config.is_encoder_decoder and not config.tie_word_embeddings:
            share_embedding(model)
        return model


def count_parameters(config: Any) -> int:
    """Parameters of a new model, made in shapes alone.

    Raises:
        InputError: where the weights do not fit into memory, or it cannot be made.
    """
    with torch.device("meta"):
        parameters = sum(parameter.numel() for parameter in new_model(copy.deepcopy(config)).parameters())
    check_memory(parameters, config.model_type)
    return parameters


def set_padding(model: Any, pad: int) -> None:
    """Set the `padding_idx` of the token embedding, whose row gets no gradient, where a family has one."""
    weight = model.get_input_embeddings().weight
    for module in model.modules():
        if isinstance(module, nn.Embedding) and module.weight is weight and module.padding_idx is not None:
            module.padding_idx = pad


def share_embedding(model: Any) -> None:
    """Let encoder and decoder read one table: where BART's head is not tied, its code ties neither of the two."""
    model.set_input_embeddings(model.get_input_embeddings())


def scaled_config(config: Any, fraction: float) -> Any:
    """A configuration of `fraction` of the width, with heads about as wide."""
    config = copy.deepcopy(config)
    heads = max(round(config.num_attention_heads * fraction), 1)
    width = max(round(config.hidden_size * fraction / heads / 2) * 2, 2) * heads  # rotary halves need even heads
    if getattr(config, "num_key_value_heads", None):
        config.num_key_value_heads = max(heads * config.num_key_value_heads // config.num_attention_heads, 1)
        while heads % config.num_key_value_heads:
            config.num_key_value_heads -= 1
    sizes = {"hidden_size": width, "num_attention_heads": heads, "decoder_attention_heads": heads}
    sizes |= {"embedding_size": width, "head_dim": width // heads, "query_pre_attn_scalar": width // heads}
    for name in ("intermediate_size", "n_inner", "d_ff", "encoder_ffn_dim", "decoder_ffn_dim"):
        sizes[name] = max(round((getattr(config, name, None) or 0) * width / config.hidden_size), 8)
    for name, size in sizes.items():
        if getattr(config, name, None):
            setattr(config, name, size)
    return config


@contextmanager
def wrap_errors(expected: str, mend: str) -> Iterator[None]:
    """Raise what transformers or torch raise for unusable settings and files as an `InputError` of one line."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    unfit = (ValueError, TypeError, RuntimeError, AssertionError, ArithmeticError, LookupError, OSError)
    try:
        yield
    except (*unfit, StrictDataclassError, SafetensorError) as error:
        cause = error.__cause__ if isinstance(error, StrictDataclassError) and error.__cause__ else error
        reason = re.split(r"\. (?=[A-Z])", " ".join(str(cause).split()))[0].rstrip(".")  # what follows is advice
        raise InputError(f"expected {expected}, found {type(cause).__name__} ({reason}): {mend}") from error


def is_decoder(model_type: str) -> bool:
    """Whether a family's attention is causal by default: it has a causal head in transformers and no masked one."""
    from transformers.models.auto import modeling_auto as auto

    causal = model_type in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    return causal and model_type not in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES


def draws_unit_embeddings(config: Any) -> bool:
    """Whether a family draws its token embedding with a standard deviation of 1."""
    return config.model_type in _UNIT_EMBEDDINGS


def sliding_windows(config: Any) -> dict[str, int | None]:
    """Window of each kind of layer, w in |i - j| < w with a token's own position counted; `None`: the whole row.

    Decoders of transformers give w as `sliding_window`; its encoders give w - 1, the positions on each side.
    ModernBERT's `local_attention` of 128 is 64 on each side (Warner et al. 2024, section 2.1.1), so its w is 65.
    """
    window = getattr(config, "sliding_window", None)
    if window is not None and not is_decoder(config.model_type):
        window += 1
    kinds = getattr(config, "layer_types", None)
    if kinds:
        return {kind: window if "sliding" in kind else None for kind in kinds}
    return {"": window if getattr(config, "use_sliding_window", True) else None}


def first_position(config: Any) -> int:
    """Number of a row's first position: 0, except where a family keeps rows of its table for padding."""
    return getattr(config, "first_position", 0)


def initializer_range(config: Any) -> float:
    """Standard deviation of a family's fresh weights."""
    return getattr(config, "initializer_range", getattr(config, "init_std", 0.02))
