"""Compare the logits of a model of transformers with those of our heads."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.backbone.config import first_position
from lm_objectives.backbone.encode import input_view, shift_right
from lm_objectives.views import Attention, View

_PROBE = 128  # tokens that both must agree on

_TOLERANCE = 1e-4  # of the largest logit, in single precision


@torch.no_grad()
def equal_logits(
    backbone: Backbone,
    attention: Attention,
    decodes: bool,
    model: Any,
    outputs: Mapping[str, Callable[[Tensor], Tensor]],
    reads: Callable[[View], Tensor] | None = None,
) -> bool:
    """Whether both give the same logits for a row of random tokens, which are also the labels of a decoder.

    Args:
        backbone: ours, in evaluation mode.
        attention: that of the model itself.
        decodes: whether the decoder of an encoder-decoder gives the logits.
        model: of transformers, in evaluation mode.
        outputs: our heads by the names of the model's outputs, from hidden states to logits; one at least.
        reads: gives the hidden states of a view, where the backbone does not.
    """
    time = min(backbone.seq_len, _PROBE)
    ids = torch.randint(backbone.vocabulary.size, (1, time), generator=torch.Generator().manual_seed(0))
    for padding in (backbone.vocabulary.pad, first_position(backbone.config) - 1):
        ids[ids == padding] = backbone.vocabulary.mask  # text has none, and RoBERTa's class gives it no position
    view, inputs = input_view(ids, attention), {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if decodes:
        view = replace(view, decoder_labels=ids)
        inputs["decoder_input_ids"] = shift_right(ids, backbone.config.decoder_start_token_id)
    assert outputs
    hidden = backbone.encode([view])[0] if reads is None else reads(view)
    theirs = model(**inputs)
    for name, logits in outputs.items():
        ours = logits(hidden)
        tolerance = max(_TOLERANCE, 16 * torch.finfo(ours.dtype).eps) * ours.abs().max()
        if ours.shape != theirs[name].shape or not (ours - theirs[name]).abs().max() <= tolerance:
            return False
    return True
