"""Whether a family attends as views ask: tried on a few narrow layers, since some ignore masks without a word."""

import itertools
import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from lm_objectives.backbone.attention import attention_masks
from lm_objectives.backbone.backbone import Backbone
from lm_objectives.backbone.config import accepts_position_ids, is_decoder, new_model, sliding_windows, wrap_errors
from lm_objectives.backbone.small_models import (
    ROUNDING,
    deserialize_config,
    draw_test_weights,
    isolated_cpu,
    serialize_config,
    shallow_configs,
    unchanged_states,
)
from lm_objectives.errors import InputError
from lm_objectives.views import Attention, View

_BESIDE: dict[Attention, Attention] = {"causal": "bidirectional", "bidirectional": "causal", "prefix": "causal"}


_TIME, _PREFIX = 8, 3  # tokens in a row, and in the prefix of one that has such


_ALL: frozenset[Attention] = frozenset(_BESIDE)


def check_attention(config: Any, asked: Collection[Attention] = ()) -> None:
    """Raise where a family does not attend as views ask, tried on real weights of a few narrow layers.

    Some families ignore masks, or the argument that turns causality off, without a word; and some cannot be told to
    keep the windows of some layers and none in others.

    Args:
        config: of the backbone.
        asked: attention of the views that will be; all where none is named. Of a model whose layers are of several
            kinds these alone are tried, of each kind alone all.

    Raises:
        ValueError: where a view sees what it must not, does not see what it must, or does not run.
    """
    with wrap_errors(f"a {config.model_type} backbone whose depth can be set", "choose another model_type"):
        shallows = list(shallow_configs(config))
    for small in shallows:
        kinds = sliding_windows(small)
        tried = frozenset(asked) if asked and len(kinds) > 1 else _ALL
        try:
            found = _leak_of(config.model_type, serialize_config(small), tried)
        except Exception:  # of sizes that do not shrink so; the true width is slower, and has its own messages
            with torch.device("meta"):
                new_model(config)
            try:
                found = _leak_in(small, tried)
            except Exception as error:
                found = f"a view raises {type(error).__name__} ({' '.join(str(error).split()).rstrip('.')})"
        if found and len(set(kinds.values())) > 1:
            raise InputError(
                f"expected a backbone that keeps its windows in {' and '.join(sorted(tried))} views, found "
                f"{config.model_type}, whose {' and '.join(kinds)} layers cannot each have a mask ({found}): "
                "gemma3_text and modernbert are examples"
            )
        if found:
            raise InputError(
                f"expected a backbone whose attention can be set, found {config.model_type}, where {found}: "
                "llama and bert are examples"
            )


def can_pack(config: Any) -> bool:
    """Whether a family can read rows that hold parts of several documents as if each stood alone."""
    if not accepts_position_ids(config):
        return False
    try:
        return all(_packs(config.model_type, serialize_config(small)) for small in shallow_configs(config))
    except Exception:  # sizes that do not shrink so, or do not run at all, which `check_attention` says
        return False


@lru_cache
def _leak_of(model_type: str, words: str, asked: frozenset[Attention]) -> str | None:
    return _leak_in(deserialize_config(model_type, words), asked)


@lru_cache
def _packs(model_type: str, words: str) -> bool:
    with _trial(deserialize_config(model_type, words)) as backbone:
        return all(packed_error(backbone, attention) <= ROUNDING for attention in ("causal", "bidirectional"))


def _leak_in(config: Any, asked: Collection[Attention]) -> str | None:
    """What is wrong with the attention of a model of this configuration."""
    with _trial(config) as backbone:
        return find_leak(backbone, asked)


@contextmanager
def _trial(config: Any) -> Iterator[Backbone]:
    """A model of a configuration with weights that tell; draws no global random numbers."""
    with isolated_cpu():
        trial = Backbone(model_type=config.model_type)
        trial.config = config
        trial._attach(new_model(config).float())
        draw_test_weights(trial)
        yield trial


@torch.no_grad()
def find_leak(backbone: Backbone, asked: Collection[Attention] = _ALL) -> str | None:
    """What is wrong with the attention that views get, seen in hidden states; `None` where it is right.

    Each pattern asked for that makes sense is tried alone and beside another, with padding and without; a layer with a
    window is to see that far and no further, in each of them. A decoder behind an encoder is tried on what it writes.
    """
    training = backbone.model.training
    backbone.model.eval()
    try:
        if backbone.is_encoder_decoder:
            return _leak_between(backbone, {"bidirectional"}) or _leak_into_decoder(backbone)
        return _leak_between(backbone, asked) or _other_windows(backbone, asked)
    finally:
        backbone.model.train(training)


def _leak_between(backbone: Backbone, asked: Collection[Attention]) -> str | None:
    """What is wrong with what the positions of a row see of one another."""
    ids = torch.arange(4, 4 + _TIME).repeat(1 + _TIME, 1)
    ids[1:].diagonal().add_(_TIME)  # each row differs from the first in a token of its own
    patterns = [pattern for pattern in _BESIDE if pattern in asked]
    for attention, length, merged in itertools.product(patterns, (_TIME, _TIME - 2), (False, True)):
        if merged and _BESIDE[attention] not in asked:
            continue
        views = [_bare(ids, length, attention), *([_bare(ids, _TIME, _BESIDE[attention])] if merged else [])]
        moved = ~unchanged_states(backbone.encode(views)[0])[
            1:, :length
        ].T  # by position, and by the token that is another
        where = f"a {attention} view{' with padding' * (length < _TIME)}{' beside another' * merged}"
        if found := _wrong(moved[:, :length], attention, _windows(backbone.config)):
            return f"{where} {found}"
        if moved[:, length:].any():
            return f"{where} sees what the padding holds"
    return None


def _wrong(sees: Bool[Tensor, "time time"], attention: Attention, windows: Sequence[float]) -> str | None:
    """What is wrong with which tokens, the second axis, a position sees, by the definition of its attention."""
    place = torch.arange(len(sees))
    past = place[:, None] - place
    may = (past >= 0) | (attention == "bidirectional") | ((attention == "prefix") & (place < _PREFIX))
    reaches = torch.eye(len(sees), dtype=torch.bool)
    for window in windows:  # each layer reads what the one below it has seen
        reaches = ((may & (past.abs() < window)).float() @ reaches.float()).bool()
    if (sees & ~may).any():
        return "sees what follows"
    if (sees & ~reaches).any():
        return "sees beyond its windows"
    missed = reaches & ~sees
    if missed.any():
        return f"does not see what {'follows' if missed[past < 0].any() else 'precedes'}"
    return None


def _windows(config: Any) -> list[float]:
    """How far each layer sees, the first first."""
    windows = sliding_windows(config)
    kinds = getattr(config, "layer_types", None) or [""] * config.num_hidden_layers
    return [float(windows[kind] or math.inf) for kind in kinds]


def _other_windows(backbone: Backbone, asked: Collection[Attention]) -> str | None:
    """Whether masks differ from the windows of the family itself, and views are asked for that need masks.

    A layer without a window hides those of the others from `_leak_between`.
    """
    own: Attention = "causal" if is_decoder(backbone.config.model_type) else "bidirectional"
    if not backbone.has_sliding_windows or set(asked) == {own}:
        return None
    view = _bare(torch.arange(4, 4 + _TIME)[None], _TIME, own)
    told = attention_masks([view], sliding_windows(backbone.config))
    there = backbone.model(input_ids=view.input_ids, attention_mask=told).last_hidden_state
    return (
        None
        if unchanged_states(torch.cat([*backbone.encode([view]), there])).all()
        else f"a {own} view has other windows"
    )


def _leak_into_decoder(backbone: Backbone) -> str | None:
    """What is wrong with what a decoder sees of what it writes, and of what the encoder reads."""
    ids, decoder = torch.arange(4, 10).repeat(4, 1), torch.arange(5, 10).repeat(4, 1)
    decoder[1, 2] = ids[2, 2] = ids[3, 4] = 11  # rows differ from the first in one token
    for length in (6, 4):
        same = unchanged_states(
            backbone.encode([replace(_bare(ids, length, "bidirectional"), decoder_labels=decoder)])[0]
        )
        where = f"a decoder{' behind padding' * (length < 6)}"
        if not same[1, :3].all():  # a state writes the token of its own position
            return f"{where} sees what it is to write"
        if same[1, 3:].any():
            return f"{where} does not see what it has written"
        if same[2].any():
            return f"{where} does not see what is read"
        if length < 6 and not same[3].all():
            return f"{where} sees what the padding holds"
    return None


@torch.no_grad()
def packed_error(backbone: Backbone, attention: Attention) -> float:
    """How far hidden states of a row of two documents are from those of each alone, relative to the largest."""
    rows = torch.tensor([[4, 5, 6, 7, 8, 9], [9, 5, 4, 7, 6, 8]])
    positions = torch.tensor([[0, 1, 0, 1, 2, 3], [0, 1, 2, 3, 0, 1]])
    packed = replace(_bare(rows, 6, attention), position_ids=positions)
    [hidden] = backbone.encode([packed])
    errors = []
    for row, cut in ((0, 2), (1, 4)):
        alone = [
            backbone.encode([_bare(part[None], part.shape[0], attention)])[0][0]
            for part in rows[row].split([cut, 6 - cut])
        ]
        errors.append((torch.cat(alone) - hidden[row]).abs().amax())
    return float(torch.stack(errors).amax() / hidden.abs().amax())


def _bare(ids: Tensor, length: int, attention: Attention) -> View:
    """A view in which nothing is scored and all rows, and their prefixes, are of one length."""
    none, prefix = ids.new_zeros(0), ids.new_full((len(ids),), _PREFIX) if attention == "prefix" else None
    lengths = ids.new_full((len(ids),), length)
    return View(ids, lengths, attention, none, none, {}, length < ids.shape[1], prefix_lengths=prefix)
