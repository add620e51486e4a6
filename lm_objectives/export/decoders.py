"""Next-token heads on decoder-only backbones."""

from functools import partial

from lm_objectives.backbone import Backbone
from lm_objectives.configuration import is_decoder
from lm_objectives.export.reference import NotExportableError, ExportedModel, wrap_backbone, set_lm_head
from lm_objectives.objectives import CausalLM, MaskedLM


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
