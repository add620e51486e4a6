"""Heads that write behind an encoder."""

import copy
from functools import partial

from lm_objectives.backbone import Backbone
from lm_objectives.export.reference import NotExportableError, ExportedModel, set_lm_head
from lm_objectives.objectives import MaskedLM, PrefixLM, SpanDenoising, TextDenoising


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
