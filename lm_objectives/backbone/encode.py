"""One forward pass of a Hugging Face model over several views."""

import inspect
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from lm_objectives.backbone.attention import attention_arguments, position_ids_of
from lm_objectives.backbone.config import first_position
from lm_objectives.views import Attention, View


def encode(
    model: Any,
    views: Sequence[View],
    parameters: Mapping[str, Tensor] | None = None,
    embedded: Float[Tensor, "rows time dim"] | None = None,
) -> list[Float[Tensor, "rows time dim"]]:
    """Hidden states of each view, all views in one pass: the decoder's where the views have labels for one.

    Args:
        model: a model of transformers without a head.
        views: of one sequence length; all or none with `decoder_labels`, and then those of one length.
        parameters: tensors to use instead of some of the model's parameters, by name.
        embedded: input vectors to read instead of the views' tokens.
    """
    config, module, rows = model.config, model, [len(view.input_ids) for view in views]
    inputs: dict[str, Any] = {"use_cache": False} if hasattr(config, "use_cache") else {}
    labels = [view.decoder_labels for view in views if view.decoder_labels is not None]
    if labels:
        inputs["decoder_input_ids"] = shift_right(torch.cat(labels), config.decoder_start_token_id)
    elif config.is_encoder_decoder:
        module, inputs = model.get_encoder(), {}
        parameters = parameters and _select(parameters, model, module)
    if embedded is not None:
        inputs["inputs_embeds"] = embedded
    else:
        inputs["input_ids"] = torch.cat([view.input_ids for view in views]) if len(views) > 1 else views[0].input_ids
    has_segments = getattr(config, "type_vocab_size", 0) > 1 and any(view.token_type_ids is not None for view in views)
    if has_segments and accepts_argument(model, "token_type_ids"):
        ids = [(view.input_ids, view.token_type_ids) for view in views]
        inputs["token_type_ids"] = torch.cat([torch.zeros_like(i) if types is None else types for i, types in ids])
    first = first_position(config)
    if first or any(view.position_ids is not None for view in views):
        inputs["position_ids"] = torch.cat([position_ids_of(view) for view in views]) + first
    inputs |= attention_arguments(views, config)
    output = torch.func.functional_call(module, dict(parameters), (), inputs) if parameters else module(**inputs)
    return list(output.last_hidden_state.split(rows))


def shift_right(labels: Int[Tensor, "rows time"], start: int) -> Int[Tensor, "rows time"]:
    """What a decoder reads to predict labels: a start token, then the labels before each.

    >>> shift_right(torch.tensor([[7, 8, 9]]), start=0)
    tensor([[0, 7, 8]])
    """
    return F.pad(labels[:, :-1], (1, 0), value=start)


def accepts_argument(model: nn.Module, name: str) -> bool:
    """Whether a model's forward method has an argument of this name."""
    return name in _signature(type(model).forward).parameters


_signature = lru_cache(inspect.signature)  # which takes a tenth of a millisecond


def input_view(ids: Int[Tensor, "rows time"], attention: Attention, length: int | None = None, prefix: int = 0) -> View:
    """A view in which nothing is scored, and all rows have one length and, with "prefix" attention, one prefix."""
    none, time, rows = ids.new_zeros(0), ids.shape[1], (len(ids),)
    prefixes = ids.new_full(rows, prefix) if attention == "prefix" else None
    length = time if length is None else length
    return View(ids, ids.new_full(rows, length), attention, none, none, {}, length < time, prefix_lengths=prefixes)


def _select(parameters: Mapping[str, Tensor], model: nn.Module, part: nn.Module) -> dict[str, Tensor]:
    """Those of a model's stand-in parameters that a part of it has, by their names in the part."""
    own = dict(model.named_parameters())
    given = {id(own[name]): value for name, value in parameters.items()}
    return {name: given[id(value)] for name, value in part.named_parameters() if id(value) in given}
