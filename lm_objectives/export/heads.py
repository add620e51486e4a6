"""Models of transformers with the heads of our objectives, one function for each kind of head."""

import copy
import functools
from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.backbone.config import is_decoder
from lm_objectives.export.reference import ExportedModel, NotExportableError, copy_head, set_lm_head, wrap_backbone
from lm_objectives.objectives import (
    LanguageModelObjective,
    MaskedLM,
    NextSentence,
    Objective,
    ReplacedToken,
    SentenceOrder,
)
from lm_objectives.objectives.classification import SegmentPairObjective
from lm_objectives.objectives.masked_lm import HF_MASKED_HEADS
from lm_objectives.views import View


@functools.singledispatch
def to_hf(objective: Objective, backbone: Backbone, masked: MaskedLM | None) -> dict[str, ExportedModel]:
    """The models of transformers that an objective becomes, by the names of their folders below its own.

    Args:
        objective: registered here by its class.
        backbone: the trained backbone.
        masked: the masked objective that reads the same rows.

    Raises:
        NotExportableError: where transformers has no such head.
    """
    raise NotExportableError(f"transformers has no head for the class {type(objective).__name__}")


@to_hf.register
def _(objective: LanguageModelObjective, backbone: Backbone, masked: MaskedLM | None) -> dict[str, ExportedModel]:
    """An AutoModelForCausalLM, or with a decoder after an encoder an AutoModelForSeq2SeqLM.

    The latter has weights of its own, since classes that do not tie their head keep three copies of the one table here.
    """
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    del masked
    family, embedding = backbone.config.model_type, backbone.embedding
    _, weight, bias = objective.head(embedding.new_zeros(0, backbone.dim), embedding)
    model: Any
    if objective.corruption.uses_decoder:
        model = AutoModelForSeq2SeqLM.from_config(copy.deepcopy(backbone.config)).eval()
        model.base_model.load_state_dict(backbone.model.state_dict(), strict=False)  # T5's has the head among the rest
    elif objective.corruption.attention != "causal":
        raise NotExportableError(
            "it reads a prefix both ways and the rest causally, as no causal class of transformers does"
            if objective.corruption.attention == "prefix"
            else "it reads both ways, as no causal class of transformers does"
        )
    elif not is_decoder(family):
        raise NotExportableError(f"{family} is an encoder, which transformers does not run causally")
    else:
        model = wrap_backbone(AutoModelForCausalLM, backbone)
    theirs = model.get_output_embeddings().weight
    if theirs.shape != weight.shape:
        raise NotExportableError(f"its head has {len(weight)} tokens and the backbone's configuration {len(theirs)}")
    if weight is not embedding or not objective.corruption.uses_decoder:
        set_lm_head(weight, bias, model)
    return {"": ExportedModel(model, {"logits": _token_logits(objective, backbone)})}


@to_hf.register
def _(objective: MaskedLM, backbone: Backbone, masked: MaskedLM | None) -> dict[str, ExportedModel]:
    """An AutoModelForMaskedLM."""
    from transformers import AutoModelForMaskedLM

    del masked
    family = backbone.config.model_type
    if objective.transform is None:
        raise NotExportableError("it predicts from the previous position, which no masked model of transformers does")
    if family not in HF_MASKED_HEADS:
        raise NotExportableError(f"masked heads are known of {', '.join(HF_MASKED_HEADS)}, not of {family}")
    model = wrap_backbone(AutoModelForMaskedLM, backbone)
    return {"": ExportedModel(model, {"logits": _masked_head(objective, objective.hf_names(family), backbone, model)})}


def _masked_head(
    objective: MaskedLM | ReplacedToken, names: dict[str, str], backbone: Backbone, model: Any
) -> Callable[[Tensor], Tensor]:
    """Copy the head of an objective, or of its generator, that predicts by the embedding; returns its logits."""
    copy_head(objective, names, model)
    set_lm_head(backbone.embedding, objective.bias, model)
    return _token_logits(objective, backbone)


def _token_logits(objective: LanguageModelObjective | ReplacedToken, backbone: Backbone) -> Callable[[Tensor], Tensor]:
    """From hidden states to logits by an objective's head over the vocabulary."""
    return lambda hidden: F.linear(*objective.head(hidden, backbone.embedding))


@to_hf.register
def _(objective: SentenceOrder, backbone: Backbone, masked: MaskedLM | None) -> dict[str, ExportedModel]:
    """An AlbertForPreTraining."""
    from transformers import AlbertForPreTraining

    if not objective.hf_names(backbone.config.model_type):
        raise NotExportableError("transformers has a head for sentence order on albert alone, from the first token")
    if masked is None:
        raise NotExportableError("AlbertForPreTraining needs a masked objective on the same rows, by shares_rows_with")
    return _pair_model(AlbertForPreTraining, "sop_logits", objective, masked, backbone)


@to_hf.register
def _(objective: NextSentence, backbone: Backbone, masked: MaskedLM | None) -> dict[str, ExportedModel]:
    """A BertForPreTraining, or a BertForNextSentencePrediction where no masked objective reads the same rows."""
    from transformers import BertForNextSentencePrediction, BertForPreTraining

    if not objective.hf_names(backbone.config.model_type):
        raise NotExportableError("transformers has a head for the next sentence on bert alone")
    if masked is None:
        return _pair_model(BertForNextSentencePrediction, "logits", objective, None, backbone)
    return _pair_model(BertForPreTraining, "seq_relationship_logits", objective, masked, backbone)


def _pair_model(
    kind: Any, output: str, objective: SegmentPairObjective, masked: MaskedLM | None, backbone: Backbone
) -> dict[str, ExportedModel]:
    """A class that classifies pairs, and predicts masked tokens in them where there is a masked objective."""
    model, family = wrap_backbone(kind, backbone), backbone.config.model_type
    copy_head(objective, objective.hf_names(family), model)
    outputs = {output: lambda hidden: objective.logits(hidden[:, 0])}
    if masked is not None:
        outputs["prediction_logits"] = _masked_head(masked, masked.hf_names(family), backbone, model)
    return {"": ExportedModel(model, outputs)}


@to_hf.register
def _(objective: ReplacedToken, backbone: Backbone, masked: MaskedLM | None) -> dict[str, ExportedModel]:
    """An ElectraForPreTraining, and an ElectraForMaskedLM on the same embeddings as its generator."""
    from transformers import ElectraForMaskedLM, ElectraForPreTraining

    del masked
    family = backbone.config.model_type
    if family != "electra":
        raise NotExportableError(f"transformers has a head for replaced tokens on electra, not on {family}")
    model = wrap_backbone(ElectraForPreTraining, backbone)
    copy_head(objective, objective.hf_names(family), model)
    generator = wrap_backbone(ElectraForMaskedLM, objective.generator, {"embeddings": backbone.model.embeddings})
    logits = _masked_head(objective, objective.hf_generator_names(family), backbone, generator)

    def encode(view: View) -> Tensor:
        return objective.encode_generator(view, backbone.embedding_parameters())

    return {
        "": ExportedModel(model, {"logits": objective.logits}),
        "generator": ExportedModel(generator, {"logits": logits}, encode),
    }
