"""Which families count positions by token ids, found by running a narrow model, and where theirs then begin."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from lm_objectives.backbone.encode import accepts_argument
from lm_objectives.backbone.small_models import measure_narrow, shallow_configs, unchanged_states
from lm_objectives.errors import InputError
from lm_objectives.views import Vocabulary


class PositionCounting(NamedTuple):
    """How a family numbers the positions of a row.

    Attributes:
        by_ids: whether a token's state depends on which of those before it have the padding's id.
        settable: whether it does not where position ids are given.
    """

    by_ids: bool
    settable: bool


def position_counting(config: Any) -> PositionCounting:
    """How a family numbers positions; as if from 0 on where the model does not run, which `check_attention` reports."""
    try:
        return measure_narrow(next(shallow_configs(config)), _count_positions)
    except Exception:  # sizes that do not shrink so, or do not run at all
        return PositionCounting(by_ids=False, settable=True)


def set_first_position(config: Any, pretrained: bool) -> Any:
    """Set `first_position`, the number of a row's first position, where the family needs position ids to be given.

    RoBERTa and its kin number positions from the padding's id on, the number of every padding in a row. Those of a
    fresh model begin at 1 whatever the id, those of a pretrained one where the folder's do. An exported model is run by
    transformers, which counts from the padding's id: `export.reference` moves the rows of its table there.
    """
    how = position_counting(config)
    if how.by_ids and how.settable:
        config.first_position = config.pad_token_id + 1 if pretrained else 1
    return config


def check_padding(config: Any, vocabulary: Vocabulary) -> None:
    """Raise where a family counts by ids, takes no position ids, and another special token has the padding's id."""
    how, pad = position_counting(config), vocabulary.pad
    others = {vocabulary.bos, vocabulary.eos, vocabulary.mask}
    if how.by_ids and not how.settable and (pad in others or pad != config.pad_token_id):
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

    settable = accepts_argument(model, "position_ids")
    if not differ():
        return PositionCounting(by_ids=False, settable=settable)
    return PositionCounting(True, settable and not differ(position_ids=torch.arange(1, 6).expand_as(rows)))
