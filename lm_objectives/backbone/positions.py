"""Whether a family counts positions by the ids of a row, and where it is told to begin: tried on a narrow model."""

from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lm_objectives.backbone.config import accepts_position_ids, new_model
from lm_objectives.backbone.pretrained import silence_transformers
from lm_objectives.backbone.small_models import (
    deserialize_config,
    draw_test_weights,
    isolated_cpu,
    serialize_config,
    shallow_configs,
    unchanged_states,
)
from lm_objectives.errors import InputError
from lm_objectives.views import Vocabulary


class PositionCounting(NamedTuple):
    """How a family comes by positions.

    Attributes:
        by_ids: whether a token's state depends on which of those before it have the padding's id.
        told: whether it does not where positions are given.
    """

    by_ids: bool
    told: bool


def position_counting(config: Any) -> PositionCounting:
    """How a family comes by positions; as if by place where it cannot be tried, which `check_attention` says."""
    try:
        return _counting(config.model_type, serialize_config(next(shallow_configs(config))))
    except Exception:  # sizes that do not shrink so, or do not run at all
        return PositionCounting(by_ids=False, told=True)


def set_first_position(config: Any, pretrained: bool) -> Any:
    """Give a configuration the number of a row's first position, `first_position`, where positions have to be given.

    RoBERTa and its kin number positions from that of the padding's id on, which is given to every padding in a row. A
    fresh model's begin at 1 whatever the id, those of a folder where the folder's own do. An exported model is run by
    transformers, which counts from the padding's id: `export.reference` moves the rows of its table there.
    """
    how = position_counting(config)
    if how.by_ids and how.told:
        config.first_position = config.pad_token_id + 1 if pretrained else 1
    return config


def check_padding(config: Any, vocabulary: Vocabulary) -> None:
    """Raise where a family counts by ids, cannot be told positions, and the padding's id is not the padding's alone."""
    how, pad = position_counting(config), vocabulary.pad
    others = {vocabulary.bos, vocabulary.eos, vocabulary.mask}
    if how.by_ids and not how.told and (pad in others or pad != config.pad_token_id):
        raise InputError(
            f"expected a padding token of its own for a {config.model_type} backbone, which counts positions by its id "
            f"{config.pad_token_id}, found id {pad}{' of another special token too' * (pad in others)}: choose a "
            "tokenizer with that padding token or a backbone such as bert"
        )


@lru_cache
@torch.no_grad()
def _counting(model_type: str, words: str) -> PositionCounting:
    config = deserialize_config(model_type, words)
    with isolated_cpu(), silence_transformers():  # transformers warns of padding that no mask hides
        model: Any = new_model(config).float()
        draw_test_weights(model)
        embedding = model.get_input_embeddings().weight
        embedding[config.pad_token_id] = embedding[9]  # so that the two rows below differ in ids and in nothing else
        rows = torch.tensor([[config.pad_token_id] * 2 + [5, 6, 7], [9, 9, 5, 6, 7]])
        part = model.get_encoder() if config.is_encoder_decoder else model

        def differ(**arguments: Tensor) -> bool:
            return not bool(unchanged_states(part(input_ids=rows, **arguments).last_hidden_state).all())

        if not differ():
            return PositionCounting(by_ids=False, told=accepts_position_ids(config))
        places = torch.arange(1, 6).expand_as(rows)
        return PositionCounting(by_ids=True, told=accepts_position_ids(config) and not differ(position_ids=places))
