"""The classes of transformers around a trained backbone, with its heads where they keep them."""

import copy
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lm_objectives.backbone import Backbone
from lm_objectives.configuration import is_decoder
from lm_objectives.corruption.base import View
from lm_objectives.data.plan import host_of
from lm_objectives.heads import MASKED_FAMILIES, Names, generator_names, head_names
from lm_objectives.objectives import CausalLM, MaskedLM, NextSentence, Objective, ReplacedToken, SentenceOrder
from lm_objectives.pretraining import Pretraining

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_PROBE = 128  # tokens that the exported model and ours must agree on
_TOLERANCE = 1e-4  # of the largest logit, in single precision


class NotExportableError(ValueError):
    """An objective that transformers has no equal head for; says why."""


class Reference(NamedTuple):
    """A model of transformers, and what each of its outputs is by our heads, from hidden states."""

    model: "PreTrainedModel"
    outputs: dict[str, Callable[[Tensor], Tensor]]


def convert(module: Pretraining, name: str) -> dict[str, "PreTrainedModel"]:
    """The models of transformers that share the backbone and have the head of one objective.

    Returns:
        The model, by the empty name, and what comes with it by the names of folders below its own: a generator.

    Raises:
        NotExportableError: when there is none whose logits are equal.
    """
    objective: Any = module.objectives[name]
    make = _MAKERS.get(type(objective))
    if make is None:
        raise NotExportableError(f"transformers has no head for the class {type(objective).__name__}")
    module.eval()
    made = {"": make(objective, module.backbone, _beside(module, name))}
    if isinstance(objective, ReplacedToken):
        made["generator"] = _generator(objective, module.backbone)
    for reference in made.values():
        _check_equal(module, objective, reference)
    return {folder: reference.model for folder, reference in made.items()}


def _beside(module: Pretraining, name: str) -> MaskedLM | None:
    """The masked objective that reads the same rows."""
    host = host_of(name, module.sources)
    beside = [module.objectives[other] for other in module.names if host_of(other, module.sources) == host]
    return next((other for other in beside if isinstance(other, MaskedLM) and other.transform is not None), None)


def _causal(objective: CausalLM, backbone: Backbone, beside: MaskedLM | None) -> Reference:
    from transformers import AutoModelForCausalLM

    del beside
    family = backbone.config.model_type
    if not is_decoder(family):
        raise NotExportableError(f"{family} is an encoder, which transformers does not run causally")
    model = _around(AutoModelForCausalLM, backbone)
    weight = backbone.embedding if objective.head is None else objective.head.weight
    head = model.get_output_embeddings().weight
    if head.shape != weight.shape:
        raise NotExportableError(f"its head has {len(weight)} tokens and the backbone's configuration {len(head)}")
    _predict_by(weight, None, model)
    return Reference(model, {"logits": lambda hidden: F.linear(hidden, weight)})


def _masked(objective: MaskedLM, backbone: Backbone, beside: MaskedLM | None) -> Reference:
    from transformers import AutoModelForMaskedLM

    del beside
    family = backbone.config.model_type
    if objective.transform is None:
        raise NotExportableError("it predicts from the previous position, which no masked model of transformers does")
    if family not in MASKED_FAMILIES:
        raise NotExportableError(f"masked heads are known of {', '.join(MASKED_FAMILIES)}, not of {family}")
    model = _around(AutoModelForMaskedLM, backbone)
    _put(objective, head_names(objective, family), model)
    _predict_by(backbone.embedding, objective.bias, model)
    return Reference(model, {"logits": _token_logits(objective, backbone.embedding)})


def _order(objective: SentenceOrder, backbone: Backbone, beside: MaskedLM | None) -> Reference:
    from transformers import AlbertForPreTraining

    if not head_names(objective, backbone.config.model_type):
        raise NotExportableError("transformers has a head for sentence order on albert alone, from the first token")
    if beside is None:
        raise NotExportableError("AlbertForPreTraining needs a masked objective on the same rows, by view_of")
    return _joined(AlbertForPreTraining, "sop_logits", objective, beside, backbone)


def _next(objective: NextSentence, backbone: Backbone, beside: MaskedLM | None) -> Reference:
    from transformers import BertForNextSentencePrediction, BertForPreTraining

    names = head_names(objective, backbone.config.model_type)
    if not names:
        raise NotExportableError("transformers has a head for the next sentence on bert alone")
    if beside is not None:
        return _joined(BertForPreTraining, "seq_relationship_logits", objective, beside, backbone)
    model = _around(BertForNextSentencePrediction, backbone)
    _put(objective, names, model)
    return Reference(model, {"logits": _pair_logits(objective)})


def _joined(
    kind: Any, output: str, objective: SentenceOrder | NextSentence, beside: MaskedLM, backbone: Backbone
) -> Reference:
    """The class that judges pairs and predicts masked tokens in them."""
    model, family = _around(kind, backbone), backbone.config.model_type
    for head in (objective, beside):
        _put(head, head_names(head, family), model)
    _predict_by(backbone.embedding, beside.bias, model)
    tokens = _token_logits(beside, backbone.embedding)
    return Reference(model, {"prediction_logits": tokens, output: _pair_logits(objective)})


def _replaced(objective: ReplacedToken, backbone: Backbone, beside: MaskedLM | None) -> Reference:
    from transformers import AutoModelForPreTraining

    del beside
    family = backbone.config.model_type
    if family != "electra":
        raise NotExportableError(f"transformers has a head for replaced tokens on electra, not on {family}")
    model = _around(AutoModelForPreTraining, backbone)
    _put(objective, head_names(objective, family), model)
    return Reference(model, {"logits": objective.logits})


def _generator(objective: ReplacedToken, backbone: Backbone) -> Reference:
    from transformers import AutoModelForMaskedLM

    model = _around(AutoModelForMaskedLM, objective.generator, {"embeddings": backbone.model.embeddings})
    _put(objective, generator_names(objective, backbone.config.model_type), model)
    _predict_by(backbone.embedding, objective.bias, model)
    return Reference(model, {})


_MAKERS: dict[type[Objective], Callable[[Any, Backbone, MaskedLM | None], Reference]] = {
    CausalLM: _causal,
    MaskedLM: _masked,
    NextSentence: _next,
    ReplacedToken: _replaced,
    SentenceOrder: _order,
}


def _around(kind: Any, backbone: Backbone, instead: Mapping[str, nn.Module] = MappingProxyType({})) -> Any:
    """A model of a class, or of an auto class, on the modules of a backbone; its head, and a pooler, are fresh.

    Args:
        kind: the class.
        backbone: whose modules it gets.
        instead: of some of them these, by name.
    """
    config = copy.deepcopy(backbone.config)
    model = kind.from_config(config) if hasattr(kind, "from_config") else kind(config)
    for name, part in (dict(backbone.model.named_children()) | dict(instead)).items():
        setattr(model.base_model, name, part)
    model.tie_weights()
    return model.eval()


@torch.no_grad()
def _put(head: nn.Module, names: Names, model: Any) -> None:
    """Copy a head's parameters to where a class of transformers keeps them."""
    theirs = dict(model.named_parameters(remove_duplicate=False))
    own = dict(head.named_parameters())
    for name, there in names.items():
        if there not in theirs:
            raise NotExportableError(f"this configuration has no {there}")
        theirs[there].copy_(own[name])


@torch.no_grad()
def _predict_by(weight: Tensor, bias: Tensor | None, model: Any) -> None:
    """Give a model the weight and the bias that tokens are predicted by, which its configuration may tie or not."""
    head = model.get_output_embeddings()
    head.weight.copy_(weight)
    if bias is not None:
        head.bias.copy_(bias)


def _token_logits(objective: MaskedLM, embedding: Tensor) -> Callable[[Tensor], Tensor]:
    transform, bias = objective.transform, objective.bias
    assert transform is not None
    return lambda hidden: F.linear(transform(hidden), embedding, bias)


def _pair_logits(objective: SentenceOrder | NextSentence) -> Callable[[Tensor], Tensor]:
    return lambda hidden: objective.classifier(torch.tanh(objective.dense(hidden[:, 0])))


@torch.no_grad()
def _check_equal(module: Pretraining, objective: Objective, reference: Reference) -> None:
    """Raise where a row of random tokens gets other logits than ours."""
    time = min(module.window, _PROBE)
    ids = torch.randint(module.vocabulary.size, (1, time), generator=torch.Generator().manual_seed(0))
    nothing = torch.zeros(0, dtype=torch.long)
    view = View(ids, torch.tensor([time]), objective.corruption.attention, nothing, nothing, {})
    [hidden] = module.backbone.encode([view])
    theirs = reference.model(input_ids=ids, attention_mask=torch.ones_like(ids))
    for name, logits in reference.outputs.items():
        ours = logits(hidden)
        if ours.shape != theirs[name].shape or not (ours - theirs[name]).abs().max() <= _TOLERANCE * ours.abs().max():
            raise NotExportableError(
                f"{type(reference.model).__name__} gives other logits than this head under the backbone's configuration"
            )
