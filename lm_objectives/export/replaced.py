"""ELECTRA's head for replaced tokens, and its generator."""

from functools import partial

from torch import Tensor

from lm_objectives.backbone import Backbone
from lm_objectives.corruption.base import View
from lm_objectives.export.reference import NotExportableError, Reference, around, predict_by, put
from lm_objectives.heads import generator_names, head_names
from lm_objectives.objectives import MaskedLM, ReplacedToken


def replaced(objective: ReplacedToken, backbone: Backbone, beside: MaskedLM | None) -> Reference:
    """An ElectraForPreTraining."""
    from transformers import AutoModelForPreTraining

    del beside
    family = backbone.config.model_type
    if family != "electra":
        raise NotExportableError(f"transformers has a head for replaced tokens on electra, not on {family}")
    model = around(AutoModelForPreTraining, backbone)
    put(objective, head_names(objective, family), model)
    return Reference(model, {"logits": objective.logits})


def generator(objective: ReplacedToken, backbone: Backbone) -> Reference:
    """An ElectraForMaskedLM by the backbone's embeddings."""
    from transformers import AutoModelForMaskedLM

    model = around(AutoModelForMaskedLM, objective.generator, {"embeddings": backbone.model.embeddings})
    put(objective, generator_names(objective, backbone.config.model_type), model)
    predict_by(backbone.embedding, objective.bias, model)

    def reads(view: View) -> Tensor:
        return objective.generate(view, backbone.embeddings())

    return Reference(model, {"logits": partial(objective.generator_logits, embedding=backbone.embedding)}, reads)
