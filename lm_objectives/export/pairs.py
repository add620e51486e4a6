"""Heads that judge pairs of segments, alone or beside a masked head on the same rows."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lm_objectives.backbone import Backbone
from lm_objectives.export.masked import token_logits
from lm_objectives.export.reference import NotExportableError, ExportedModel, wrap_backbone, set_lm_head, copy_head
from lm_objectives.heads import head_names
from lm_objectives.objectives import MaskedLM, NextSentence, SentenceOrder


def order(objective: SentenceOrder, backbone: Backbone, beside: MaskedLM | None) -> ExportedModel:
    """An AlbertForPreTraining."""
    from transformers import AlbertForPreTraining

    if not head_names(objective, backbone.config.model_type):
        raise NotExportableError("transformers has a head for sentence order on albert alone, from the first token")
    if beside is None:
        raise NotExportableError("AlbertForPreTraining needs a masked objective on the same rows, by view_of")
    return _joined(AlbertForPreTraining, "sop_logits", objective, beside, backbone)


def following(objective: NextSentence, backbone: Backbone, beside: MaskedLM | None) -> ExportedModel:
    """A BertForPreTraining, or a BertForNextSentencePrediction where no masked objective reads the same rows."""
    from transformers import BertForNextSentencePrediction, BertForPreTraining

    names = head_names(objective, backbone.config.model_type)
    if not names:
        raise NotExportableError("transformers has a head for the next sentence on bert alone")
    if beside is not None:
        return _joined(BertForPreTraining, "seq_relationship_logits", objective, beside, backbone)
    model = wrap_backbone(BertForNextSentencePrediction, backbone)
    copy_head(objective, names, model)
    return ExportedModel(model, {"logits": _pair_logits(objective)})


def _joined(
    kind: Any, output: str, objective: SentenceOrder | NextSentence, beside: MaskedLM, backbone: Backbone
) -> ExportedModel:
    """The class that judges pairs and predicts masked tokens in them."""
    model, family = wrap_backbone(kind, backbone), backbone.config.model_type
    for head in (objective, beside):
        copy_head(head, head_names(head, family), model)
    set_lm_head(backbone.embedding, beside.bias, model)
    tokens = token_logits(beside, backbone.embedding)
    return ExportedModel(model, {"prediction_logits": tokens, output: _pair_logits(objective)})


def _pair_logits(objective: SentenceOrder | NextSentence) -> Callable[[Tensor], Tensor]:
    return lambda hidden: objective.classifier(torch.tanh(objective.dense(hidden[:, 0])))
