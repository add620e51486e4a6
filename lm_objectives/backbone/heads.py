"""Layers of a family's own heads."""

import math
from typing import Any

from torch import nn

from lm_objectives.backbone.config import draws_unit_embeddings, initializer_range, wrap_errors

_EPSILONS = ("layer_norm_eps", "norm_eps", "layer_norm_epsilon", "rms_norm_eps")

_OWN_ACTIVATION = ("albert", "bert")  # their masked head has the model's own activation, the others' a GELU


def head_transform(config: Any, inputs: int, outputs: int) -> nn.Sequential:
    """Dense layer, activation and norm before a masked head's tied embedding, as the family has them.

    Args:
        config: of the model.
        inputs: width of its hidden states.
        outputs: width of its token embedding.
    """
    own = config.model_type == "modernbert"  # the one family here without these biases, and with a width of its own
    dense = nn.Linear(inputs, outputs, bias=config.classifier_bias if own else True)
    if own:  # as its own head does it, at the width of a residual projection
        std = initializer_range(config) / math.sqrt(2 * config.num_hidden_layers)
        cut = (config.initializer_cutoff_factor or 3) * std
        nn.init.trunc_normal_(dense.weight, std=std, a=-cut, b=cut)
    else:
        nn.init.normal_(dense.weight, std=initializer_range(config))
    if dense.bias is not None:
        nn.init.zeros_(dense.bias)
    epsilon = next((value for name in _EPSILONS if (value := getattr(config, name, None))), 1e-12)
    norm = nn.LayerNorm(outputs, eps=epsilon, bias=config.norm_bias if own else True)
    if draws_unit_embeddings(config):
        nn.init.constant_(norm.weight, outputs**-0.5)  # else a fresh model would be certain, and wrong
    usual = config.hidden_act if config.model_type in _OWN_ACTIVATION else "gelu"
    return nn.Sequential(dense, new_activation(config.classifier_activation if own else usual), norm)


def new_activation(name: str) -> nn.Module:
    """An activation function by its name in transformers, such as `gelu`."""
    from transformers.activations import ACT2FN

    with wrap_errors("an activation that transformers knows", "change model.backbone.config"):
        return ACT2FN[name]
