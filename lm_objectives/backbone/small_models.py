"""Narrow, shallow models of a family, which show what no configuration says."""

import copy
import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lm_objectives.backbone.config import new_model, saved_config, scaled_config
from lm_objectives.backbone.pretrained import silence_transformers

T = TypeVar("T")

_WINDOW = 2  # of sliding layers, so that rows of a few tokens reach beyond it

_TOKENS = 32  # in the vocabulary of a narrow model

_ROUNDING = 1e-5  # of hidden states in float32, relative to the largest


def unchanged_states(hidden: Tensor) -> Tensor:
    """Whether each state, on the last axis, equals that of the first row, up to rounding."""
    return ((hidden - hidden[0]).abs() <= _ROUNDING * hidden.abs().amax()).all(-1)


def shallow_configs(config: Any) -> Iterator[Any]:
    """Configurations of a layer of each kind alone, and of one of all kinds; of two layers where there are no kinds."""
    depth, kinds = config.num_hidden_layers, getattr(config, "layer_types", None) or []
    of_kinds = [kinds.index(kind) for kind in dict.fromkeys(kinds)]
    alone = [[index] for index in of_kinds] or [list(range(min(depth, 2)))]
    for kept in [*alone, *([of_kinds] if len(of_kinds) > 1 else [])]:
        small = copy.deepcopy(config)
        for name, value in vars(config).items():
            if isinstance(value, list) and len(value) == depth:  # a setting of each layer
                small.__dict__[name] = [value[index] for index in kept]
            elif name.endswith("_token_id") and isinstance(value, int):
                setattr(small, name, 0)
        small.num_hidden_layers, small.vocab_size = len(kept), _TOKENS
        sizes = {"local_attention": 2 * _WINDOW, "sliding_window": _WINDOW, "first_position": 1}
        sizes |= {name: min(getattr(small, name, 2), 2) for name in ("num_decoder_layers", "decoder_layers")}
        sizes["max_position_embeddings"] = max(
            getattr(small, "max_position_embeddings", 0) or 0, _TOKENS
        )  # to fit a row
        for name, size in sizes.items():
            if getattr(small, name, None) is not None:
                setattr(small, name, size)
        yield small


def measure_narrow(config: Any, measure: Callable[..., T], *arguments: Any) -> T:
    """`measure(model, *arguments)` of a narrow model of a configuration; computed once for each."""
    return _measure_json(scaled_config(config, min(64 / config.hidden_size, 1.0)).to_json_string(), measure, *arguments)


@lru_cache
def _measure_json(config: str, measure: Callable[..., T], *arguments: Any) -> T:
    return measure_model(saved_config(json.loads(config)), measure, *arguments)


@torch.no_grad()
def measure_model(config: Any, measure: Callable[..., T], *arguments: Any) -> T:
    """`measure(model, *arguments)` of a model with random weights, on the CPU; global random numbers stay untouched.

    The weights are the same each time, and large enough that states show what they depend on.
    """
    with torch.device("cpu"), torch.random.fork_rng(devices=[]), silence_transformers():
        model: Any = new_model(config).float().eval()
        generator = torch.Generator("cpu").manual_seed(0)
        for parameter in model.parameters():
            if parameter.ndim > 1:  # wider than families draw them, or rounding would hide what attention does; and not
                # so wide that T5's, which does not divide by the width of a head, looks at one token alone
                nn.init.normal_(parameter, std=0.5 * parameter.shape[-1] ** -0.5, generator=generator)
        return measure(model, *arguments)
