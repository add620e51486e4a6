"""Our heads in the classes that transformers has for them."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.backbone.config import is_decoder
from lm_objectives.export.reference import ExportedModel, NotExportableError, copy_head, set_lm_head, wrap_backbone
from lm_objectives.objectives import (
    CausalLM,
    MaskedLM,
    NextSentence,
    PrefixLM,
    ReplacedToken,
    SentenceOrder,
    SpanDenoising,
    TextDenoising,
)
from lm_objectives.objectives.hf_heads import MASKED_FAMILIES, generator_names, head_names
from lm_objectives.views import View


def causal(objective: CausalLM, backbone: Backbone, beside: MaskedLM | None) -> ExportedModel:
    """An AutoModelForCausalLM."""
    from transformers import AutoModelForCausalLM

    del beside
    family = backbone.config.model_type
    if not is_decoder(family):
        raise NotExportableError(f"{family} is an encoder, which transformers does not run causally")
    model = wrap_backbone(AutoModelForCausalLM, backbone)
    weight = objective.weight(backbone.embedding)
    head = model.get_output_embeddings().weight
    if head.shape != weight.shape:
        raise NotExportableError(f"its head has {len(weight)} tokens and the backbone's configuration {len(head)}")
    set_lm_head(weight, None, model)
    return ExportedModel(model, {"logits": partial(objective.logits, embedding=backbone.embedding)})


def written(
    objective: PrefixLM | SpanDenoising | TextDenoising, backbone: Backbone, beside: MaskedLM | None
) -> ExportedModel:
    """An AutoModelForSeq2SeqLM: a T5ForConditionalGeneration, a BartForConditionalGeneration, ….

    It has weights of its own, since classes that do not tie their head keep three copies of the one table here.
    """
    from transformers import AutoModelForSeq2SeqLM

    del beside
    if not objective.corruption.uses_decoder:
        raise NotExportableError(
            "it reads a prefix both ways and the rest causally, as no causal class of transformers does"
        )
    model = AutoModelForSeq2SeqLM.from_config(copy.deepcopy(backbone.config))
    model.base_model.load_state_dict(backbone.model.state_dict(), strict=False)  # T5's own has the head among the rest
    if objective.head is not None:
        set_lm_head(objective.head.weight, None, model)
    return ExportedModel(model.eval(), {"logits": partial(objective.logits, embedding=backbone.embedding)})


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


def order(objective: SentenceOrder, backbone: Backbone, beside: MaskedLM | None) -> ExportedModel:
    """An AlbertForPreTraining."""
    from transformers import AlbertForPreTraining

    if not head_names(objective, backbone.config.model_type):
        raise NotExportableError("transformers has a head for sentence order on albert alone, from the first token")
    if beside is None:
        raise NotExportableError("AlbertForPreTraining needs a masked objective on the same rows, by shares_rows_with")
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


def replaced(objective: ReplacedToken, backbone: Backbone, beside: MaskedLM | None) -> ExportedModel:
    """An ElectraForPreTraining."""
    from transformers import AutoModelForPreTraining

    del beside
    family = backbone.config.model_type
    if family != "electra":
        raise NotExportableError(f"transformers has a head for replaced tokens on electra, not on {family}")
    model = wrap_backbone(AutoModelForPreTraining, backbone)
    copy_head(objective, head_names(objective, family), model)
    return ExportedModel(model, {"logits": objective.logits})


def generator(objective: ReplacedToken, backbone: Backbone) -> ExportedModel:
    """An ElectraForMaskedLM by the backbone's embeddings."""
    from transformers import AutoModelForMaskedLM

    model = wrap_backbone(AutoModelForMaskedLM, objective.generator, {"embeddings": backbone.model.embeddings})
    copy_head(objective, generator_names(objective, backbone.config.model_type), model)
    set_lm_head(backbone.embedding, objective.bias, model)

    def reads(view: View) -> Tensor:
        return objective.encode_generator(view, backbone.embedding_parameters())

    return ExportedModel(model, {"logits": partial(objective.generator_logits, embedding=backbone.embedding)}, reads)
