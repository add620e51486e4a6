"""Which families count positions by token ids, found by running a narrow model, and where theirs then begin."""

from typing import Any, Literal

import torch
from torch import Tensor

from lm_objectives.backbone.encode import accepts_argument
from lm_objectives.backbone.small_models import measure_narrow, shallow_configs, unchanged_states
from lm_objectives.errors import InputError
from lm_objectives.views import Vocabulary

PositionCounting = Literal["by place", "by ids unless given", "by ids"]
"""How a family numbers the positions of a row: whether a token's state depends on which of those before it have the
padding's id, and if so, whether it still does where position ids are given."""


def position_counting(config: Any) -> PositionCounting:
    """How a family numbers positions; by place where the model does not run, which `check_attention` reports."""
    try:
        return measure_narrow(next(shallow_configs(config)), _count_positions)
    except Exception:  # sizes that do not shrink so, or do not run at all
        return "by place"


def set_first_position(config: Any, pretrained: bool) -> Any:
    """Set `first_position`, the number of a row's first position, where the family needs position ids to be given.

    RoBERTa and its kin number positions from the padding's id on, the number of every padding in a row. Those of a
    fresh model begin at 1 whatever the id, those of a pretrained one where the folder's do. An exported model is run by
    transformers, which counts from the padding's id: `export.reference` moves the rows of its table there.
    """
    if position_counting(config) == "by ids unless given":
        config.first_position = config.pad_token_id + 1 if pretrained else 1
    return config


def check_padding(config: Any, vocabulary: Vocabulary) -> None:
    """Raise where a family counts by ids, takes no position ids, and another special token has the padding's id."""
    pad, others = vocabulary.pad, {vocabulary.bos, vocabulary.eos, vocabulary.mask}
    if position_counting(config) == "by ids" and (pad in others or pad != config.pad_token_id):
        raise InputError(
            f"expected a padding token of its own for a {config.model_type} backbone, which counts positions by its id "
            f"{config.pad_token_id}, found id {pad}{' of another special token too' * (pad in others)}: choose a "
            "tokenizer with that padding token or a backbone such as bert"
        )


def _count_positions(model: Any) -> PositionCounting:
    config, embedding = model.config, model.get_input_embeddings().weight
    embedding[config.pad_token_id] = embedding[9]  # so that the two rows below differ in ids and in nothing else
    rows = torch.tensor([[config.pad_token_id] * 2 + [5, 6, 7], [9, 9, 5, 6, 7]])
    part = model.get_encoder() if config.is_encoder_decoder else model

    def differ(**arguments: Tensor) -> bool:
        return not bool(unchanged_states(part(input_ids=rows, **arguments).last_hidden_state).all())

    if not differ():
        return "by place"
    given = torch.arange(1, 6).expand_as(rows)
    settable = accepts_argument(model, "position_ids") and not differ(position_ids=given)
    return "by ids unless given" if settable else "by ids"
