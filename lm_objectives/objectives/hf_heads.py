"""Where the classes of transformers keep our heads: the names by which both loading and exporting go."""

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import nn

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.backbone.config import is_decoder
from lm_objectives.backbone.equal_logits import equal_logits
from lm_objectives.backbone.pretrained import PretrainedWeights, read_config, read_folder
from lm_objectives.errors import InputError
from lm_objectives.objectives import MaskedLM, NextSentence, Objective, ReplacedToken, SentenceOrder
from lm_objectives.objectives.language_model import OwnHead
from lm_objectives.views import Attention

_log = logging.getLogger("lm_objectives")


Names = dict[str, str]
"""From names of parameters, or of modules that hold some, in our head to those in a class of transformers."""


_MASKED: dict[str, Names] = {
    "albert": {"transform.0": "predictions.dense", "transform.2": "predictions.LayerNorm", "bias": "predictions.bias"},
    "bert": {
        "transform.0": "cls.predictions.transform.dense",
        "transform.2": "cls.predictions.transform.LayerNorm",
        "bias": "cls.predictions.bias",
    },
    "electra": {
        "transform.0": "generator_predictions.dense",
        "transform.2": "generator_predictions.LayerNorm",
        "bias": "generator_lm_head.bias",
    },
    "modernbert": {"transform.0": "head.dense", "transform.2": "head.norm", "bias": "decoder.bias"},
    "roberta": {"transform.0": "lm_head.dense", "transform.2": "lm_head.layer_norm", "bias": "lm_head.bias"},
}


_ORDER: dict[str, Names] = {"albert": {"dense": "albert.pooler", "classifier": "sop_classifier.classifier"}}


_NEXT: dict[str, Names] = {"bert": {"dense": "bert.pooler.dense", "classifier": "cls.seq_relationship"}}


_REPLACED: dict[str, Names] = {
    "electra": {
        "dense": "discriminator_predictions.dense",
        "classifier": "discriminator_predictions.dense_prediction",
    }
}


_GENERATOR: dict[str, Names] = {"electra": {"generator.model": "electra"} | _MASKED["electra"]}


_TABLES: dict[type[Objective], dict[str, Names]] = {
    MaskedLM: _MASKED,
    NextSentence: _NEXT,
    ReplacedToken: _REPLACED,
    SentenceOrder: _ORDER,
}


MASKED_FAMILIES = tuple(_MASKED)
"""Families of whose masked head the names are known."""


def head_names(objective: Objective, family: str) -> Names:
    """The names of a built head's parameters in the classes of a family; none where they have no such head.

    Those of a generator are not among them.
    """
    if isinstance(objective, OwnHead):
        return _each(objective, {"head": "lm_head"})
    if isinstance(objective, SentenceOrder) and objective.pooling != "first":
        return {}
    return _each(objective, _TABLES.get(type(objective), {}).get(family, {}))


def generator_names(objective: ReplacedToken, family: str) -> Names:
    """The names of what a generator has besides the embeddings, which are the backbone's."""
    return _each(objective, _GENERATOR.get(family, {}))


def _each(head: nn.Module, modules: Names) -> Names:
    return {
        name: there + name.removeprefix(own)
        for name, _ in head.named_parameters()
        for own, there in modules.items()
        if name == own or name.startswith(f"{own}.")
    }


def load_pretrained_heads(backbone: Backbone, objectives: Mapping[str, Objective]) -> None:
    """Give fresh heads the weights that the folder which the backbone began with has for them, and say which it lacks.

    A generator's are those of its folder `generator`, if there is one.

    Raises:
        ValueError: where a head has another size there, or a bias, a scale or a cap on its logits that ours has not.
    """
    found = backbone.pretrained_weights
    assert found is not None
    held: dict[str, bool] = {}
    for name, objective in objectives.items():
        if isinstance(objective, MaskedLM) and not found.tied:
            held[name] = False  # ours predicts by the embedding
            continue
        held[name] = _copied(objective, head_names(objective, backbone.config.model_type), found)
        if held[name] and isinstance(objective, OwnHead):
            _check_logits(objective, backbone)
        if isinstance(objective, ReplacedToken):
            held[f"{name}'s generator"] = _start_generator(objective, backbone, found.folder / "generator")
    backbone.pretrained_weights = None  # heads that nobody asked for take memory
    started, fresh = (", ".join(name for name in held if held[name] is there) for there in (True, False))
    _log.info("%s: begins with %s%s", found.folder, started or "no head", f"; fresh: {fresh}" if fresh else "")


def _check_logits(objective: OwnHead, backbone: Backbone) -> None:
    """Raise where the class that wrote the folder has logits that are not our head's: biased, scaled or capped ones."""
    found, writes = backbone.pretrained_weights, objective.corruption.uses_decoder
    assert found is not None
    if not (writes or is_decoder(backbone.config.model_type)) or found.whole.get_output_embeddings() is None:
        return  # of itself it predicts no tokens so
    attention: Attention = "bidirectional" if writes else "causal"
    found.whole.eval()
    ours = {"logits": partial(objective.logits, embedding=backbone.embedding)}
    equal = equal_logits(backbone, attention, writes, found.whole, ours)
    found.whole.train()
    if not equal:
        raise InputError(
            f"expected a head in {found.folder} that is a linear map alone, found that of a "
            f"{type(found.whole).__name__}, with other logits (a bias, a scale or a cap): write its bare model, an "
            "AutoModel, and start from that"
        )


def _start_generator(objective: ReplacedToken, backbone: Backbone, folder: Path) -> bool:
    family = backbone.config.model_type
    if not backbone.factorized or not (folder / "config.json").is_file():
        return False
    found = read_folder(folder, read_config(folder), backbone.vocabulary)
    for name, weight in backbone.embedding_parameters().items():
        if not torch.equal(weight, found.weights[f"{family}.{name}"]):
            _log.warning("%s: its %s is not the backbone's, by which the generator reads here", folder, name)
    return _copied(objective, generator_names(objective, family), found)


@torch.no_grad()
def _copied(head: nn.Module, names: Names, found: PretrainedWeights) -> bool:
    """Whether the folder holds all of a head, which then has its weights; a head without parameters it does."""
    own = dict(head.named_parameters())
    if not names or not found.weights.keys() >= set(names.values()):
        return not own
    for name, there in names.items():
        weight = found.weights[there]
        if own[name].shape != weight.shape:
            raise InputError(
                f"expected {there} of shape {tuple(own[name].shape)} in {found.folder}, found {tuple(weight.shape)}: "
                "give the objective the sizes that it was trained with"
            )
        own[name].copy_(weight)
    return True
