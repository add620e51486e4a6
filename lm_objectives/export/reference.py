"""Wraps a trained backbone in a class of transformers, and copies a head's weights into it."""

import copy
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.backbone.config import first_position
from lm_objectives.objectives.hf_heads import parameter_names
from lm_objectives.views import View

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class NotExportableError(ValueError):
    """An objective that transformers has no equal head for; says why."""


class ExportedModel(NamedTuple):
    """A model of transformers, and our logits that its outputs must equal.

    Attributes:
        model: the model.
        outputs: for each of its outputs, our logits from hidden states.
        encode: hidden states of a view; `None` for the backbone's.
    """

    model: "PreTrainedModel"
    outputs: dict[str, Callable[[Tensor], Tensor]]
    encode: Callable[[View], Tensor] | None = None


def wrap_backbone(kind: Any, backbone: Backbone, replaced: Mapping[str, nn.Module] = MappingProxyType({})) -> Any:
    """A model of a class, or of an auto class, on the modules of a backbone; its head, and a pooler, are fresh.

    A class that counts positions from the padding's id has the rows of its table there, and not where the backbone's
    begin (see `backbone.positions.set_first_position`): before them come rows for lower ids, which nothing reads.

    Args:
        kind: the class.
        backbone: whose modules it gets.
        replaced: modules that stand in for some of those, by name.
    """
    config = copy.deepcopy(backbone.config)
    first, counts_from = first_position(config), (config.pad_token_id or 0) + 1
    if first:
        config.max_position_embeddings += counts_from - first
        del config.first_position
    model = kind.from_config(config) if hasattr(kind, "from_config") else kind(config)
    for name, part in (dict(backbone.model.named_children()) | dict(replaced)).items():
        moved = first not in (0, counts_from) and _moved(part, getattr(model.base_model, name), first, counts_from)
        if not moved:
            setattr(model.base_model, name, part)
    if first:
        model.set_input_embeddings(backbone.model.get_input_embeddings())
    model.tie_weights()
    return model.eval()


def _moved(part: nn.Module, theirs: nn.Module, first: int, counts_from: int) -> bool:
    """Give a class's part the weights of ours, where its table of positions is of another length; whether it is."""
    ours, fresh = part.state_dict(), theirs.state_dict()
    tables = [name for name, weight in ours.items() if weight.shape != fresh[name].shape]
    for name in tables:
        ours[name] = torch.cat([fresh[name].new_zeros(counts_from, *ours[name].shape[1:]), ours[name][first:]])
    if tables:
        theirs.load_state_dict(ours)
    return bool(tables)


@torch.no_grad()
def copy_head(head: nn.Module, names: Mapping[str, str], model: Any) -> None:
    """Copy a head's parameters into a model of transformers, by their names there (see `Objective.hf_names`)."""
    theirs = dict(model.named_parameters(remove_duplicate=False))
    own = dict(head.named_parameters())
    for name, there in parameter_names(head, names).items():
        if there not in theirs:
            raise NotExportableError(f"this configuration has no {there}")
        theirs[there].copy_(own[name])


@torch.no_grad()
def set_lm_head(weight: Tensor, bias: Tensor | None, model: Any) -> None:
    """Set the weight and the bias of a model's head over the vocabulary, whether its configuration ties it or not."""
    head = model.get_output_embeddings()
    if head.weight is not weight:  # nor may it be written into, which the configuration may have made the embedding
        head.weight = nn.Parameter(weight.clone())
    if bias is not None:
        if head.bias is None:
            raise NotExportableError(f"its head has a bias, which {type(model).__name__} has not")
        head.bias.copy_(bias)
