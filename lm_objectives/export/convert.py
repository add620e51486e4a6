"""One objective of a trained module as models of transformers, compared with it before anyone gets them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.backbone.equal_logits import equal_logits
from lm_objectives.data.plan import row_owner
from lm_objectives.export.heads import causal, following, generator, masked, order, replaced, written
from lm_objectives.export.reference import ExportedModel, NotExportableError
from lm_objectives.objectives import (
    CausalLM,
    MaskedLM,
    NextSentence,
    Objective,
    PrefixLM,
    ReplacedToken,
    SentenceOrder,
    SpanDenoising,
    TextDenoising,
)
from lm_objectives.training.module import Pretraining

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_MAKERS: dict[type[Objective], Callable[[Any, Backbone, MaskedLM | None], ExportedModel]] = {
    CausalLM: causal,
    MaskedLM: masked,
    NextSentence: following,
    PrefixLM: written,
    ReplacedToken: replaced,
    SentenceOrder: order,
    SpanDenoising: written,
    TextDenoising: written,
}


def convert(module: Pretraining, name: str) -> dict[str, "PreTrainedModel"]:
    """The models of transformers that have the backbone and the head of one objective.

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
        made["generator"] = generator(objective, module.backbone)
    for reference in made.values():
        _check_equal(module, objective, reference)
    return {folder: reference.model for folder, reference in made.items()}


def _beside(module: Pretraining, name: str) -> MaskedLM | None:
    """The masked objective that reads the same rows."""
    host = row_owner(name, module.sources)
    beside = [module.objectives[other] for other in module.names if row_owner(other, module.sources) == host]
    return next((other for other in beside if isinstance(other, MaskedLM) and other.transform is not None), None)


def _check_equal(module: Pretraining, objective: Objective, reference: ExportedModel) -> None:
    """Raise where a class of transformers gives other logits than ours."""
    how = module.backbone, objective.corruption.attention, objective.corruption.uses_decoder
    if not equal_logits(*how, *reference):
        raise NotExportableError(
            f"{type(reference.model).__name__} gives other logits than this head under the backbone's configuration"
        )
