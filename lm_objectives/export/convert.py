"""Converts one objective of a trained module to models of transformers, and checks that their logits are equal."""

from typing import TYPE_CHECKING, Any

from lm_objectives.backbone.equal_logits import equal_logits
from lm_objectives.data.plan import row_owner
from lm_objectives.export.heads import to_hf
from lm_objectives.export.reference import NotExportableError
from lm_objectives.objectives import MaskedLM
from lm_objectives.training.module import Pretraining

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def convert(module: Pretraining, name: str) -> dict[str, "PreTrainedModel"]:
    """The models of transformers that have the backbone and the head of one objective.

    Returns:
        The model, by the empty name, and what comes with it by the names of folders below its own: a generator.

    Raises:
        NotExportableError: when there is none whose logits are equal.
    """
    objective: Any = module.objectives[name]
    module.eval()
    models = to_hf(objective, module.backbone, _masked_on_same_rows(module, name))
    how = module.backbone, objective.corruption.attention, objective.corruption.uses_decoder
    for exported in models.values():
        if not equal_logits(*how, *exported):
            raise NotExportableError(
                f"{type(exported.model).__name__} gives other logits than this head under the backbone's configuration"
            )
    return {folder: exported.model for folder, exported in models.items()}


def _masked_on_same_rows(module: Pretraining, name: str) -> MaskedLM | None:
    """The masked objective that reads the rows of `name`, and predicts each token from its own position."""
    owner = row_owner(name, module.sources)
    others = [module.objectives[other] for other in module.names if row_owner(other, module.sources) == owner]
    return next((other for other in others if isinstance(other, MaskedLM) and other.transform is not None), None)
