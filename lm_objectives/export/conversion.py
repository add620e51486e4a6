"""One objective of a trained module as models of transformers, compared with it before anyone gets them."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from lm_objectives.backbone import Backbone
from lm_objectives.corruption.base import View
from lm_objectives.data.plan import host_of
from lm_objectives.export.decoders import causal
from lm_objectives.export.encoder_decoders import written
from lm_objectives.export.masked import masked
from lm_objectives.export.pairs import following, order
from lm_objectives.export.reference import NotExportableError, Reference
from lm_objectives.export.replaced import generator, replaced
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
from lm_objectives.pretraining import Pretraining

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_PROBE = 128  # tokens that the exported model and ours must agree on
_TOLERANCE = 1e-4  # of the largest logit, in single precision

_MAKERS: dict[type[Objective], Callable[[Any, Backbone, MaskedLM | None], Reference]] = {
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
    host = host_of(name, module.sources)
    beside = [module.objectives[other] for other in module.names if host_of(other, module.sources) == host]
    return next((other for other in beside if isinstance(other, MaskedLM) and other.transform is not None), None)


@torch.no_grad()
def _check_equal(module: Pretraining, objective: Objective, reference: Reference) -> None:
    """Raise where a row of random tokens, read and where a decoder writes also written, gets other logits than ours."""
    time = min(module.window, _PROBE)
    ids = torch.randint(module.vocabulary.size, (1, time), generator=torch.Generator().manual_seed(0))
    nothing = torch.zeros(0, dtype=torch.long)
    view = View(ids, torch.tensor([time]), objective.corruption.attention, nothing, nothing, {})
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if objective.corruption.decodes:
        view, inputs["decoder_input_ids"] = replace(view, decoder=ids), module.backbone.read_to_write(ids)
    [hidden] = module.backbone.encode([view])
    theirs: Any = reference.model(**inputs)
    for name, logits in reference.outputs.items():
        ours = logits(hidden)
        if ours.shape != theirs[name].shape or not (ours - theirs[name]).abs().max() <= _TOLERANCE * ours.abs().max():
            raise NotExportableError(
                f"{type(reference.model).__name__} gives other logits than this head under the backbone's configuration"
            )
