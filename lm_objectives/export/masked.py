"""Masked heads on encoder-only backbones."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from lm_objectives.backbone import Backbone
from lm_objectives.export.reference import NotExportableError, ExportedModel, wrap_backbone, set_lm_head, copy_head
from lm_objectives.heads import MASKED_FAMILIES, head_names
from lm_objectives.objectives import MaskedLM


def masked(objective: MaskedLM, backbone: Backbone, beside: MaskedLM | None) -> ExportedModel:
    """An AutoModelForMaskedLM."""
    from transformers import AutoModelForMaskedLM

    del beside
    family = backbone.config.model_type
    if objective.transform is None:
        raise NotExportableError("it predicts from the previous position, which no masked model of transformers does")
    if family not in MASKED_FAMILIES:
        raise NotExportableError(f"masked heads are known of {', '.join(MASKED_FAMILIES)}, not of {family}")
    model = wrap_backbone(AutoModelForMaskedLM, backbone)
    copy_head(objective, head_names(objective, family), model)
    set_lm_head(backbone.embedding, objective.bias, model)
    return ExportedModel(model, {"logits": token_logits(objective, backbone.embedding)})


def token_logits(objective: MaskedLM, embedding: Tensor) -> Callable[[Tensor], Tensor]:
    """From hidden states to logits by our head."""
    transform, bias = objective.transform, objective.bias
    assert transform is not None
    return lambda hidden: F.linear(transform(hidden), embedding, bias)
