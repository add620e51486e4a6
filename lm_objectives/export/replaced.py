"""ELECTRA's head for replaced tokens, and its generator."""

from functools import partial

from torch import Tensor

from lm_objectives.backbone import Backbone
from lm_objectives.corruption.base import View
from lm_objectives.export.reference import NotExportableError, ExportedModel, wrap_backbone, set_lm_head, copy_head
from lm_objectives.heads import generator_names, head_names
from lm_objectives.objectives import MaskedLM, ReplacedToken


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
