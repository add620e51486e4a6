"""Whether a model of transformers gives the logits that our heads give."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.backbone.config import first_position
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
    """Whether a row of random tokens, read and where a decoder writes also written, gets the same logits from both.

    Args:
        backbone: ours, which like the model is only asked (in evaluation mode).
        attention: that of the model itself.
        decodes: whether a decoder writes.
        model: of transformers.
        outputs: what each of its outputs is by our heads, from hidden states; one at least.
        reads: gives the hidden states of a view, where the backbone does not.
    """
    time = min(backbone.seq_len, _PROBE)
    ids = torch.randint(backbone.vocabulary.size, (1, time), generator=torch.Generator().manual_seed(0))
    for padding in (backbone.vocabulary.pad, first_position(backbone.config) - 1):
        ids[ids == padding] = backbone.vocabulary.mask  # text has none, and RoBERTa's class counts it as no place
    nothing = torch.zeros(0, dtype=torch.long)
    view = View(ids, torch.tensor([time]), attention, nothing, nothing, {})
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if decodes:
        view, inputs["decoder_input_ids"] = replace(view, decoder_labels=ids), backbone.shift_right(ids)
    assert outputs
    hidden = backbone.encode([view])[0] if reads is None else reads(view)
    theirs = model(**inputs)
    for name, logits in outputs.items():
        ours = logits(hidden)
        tolerance = max(_TOLERANCE, 16 * torch.finfo(ours.dtype).eps) * ours.abs().max()
        if ours.shape != theirs[name].shape or not (ours - theirs[name]).abs().max() <= tolerance:
            return False
    return True
