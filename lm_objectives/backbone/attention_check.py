"""Check that a family attends as views ask, by running narrow models: some ignore masks without an error."""

import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from lm_objectives.backbone.attention import attention_masks
from lm_objectives.backbone.config import is_decoder, new_model, sliding_windows, wrap_errors
from lm_objectives.backbone.encode import accepts_argument, encode, input_view
from lm_objectives.backbone.small_models import measure_model, measure_narrow, shallow_configs, unchanged_states
from lm_objectives.errors import InputError
from lm_objectives.views import Attention

_MERGED_WITH: dict[Attention, Attention] = {"causal": "bidirectional", "bidirectional": "causal", "prefix": "causal"}


_TIME, _PREFIX = 8, 3  # tokens in a row, and in the prefix of one that has such

_ALL: frozenset[Attention] = frozenset(_MERGED_WITH)


_view = partial(input_view, prefix=_PREFIX)


def check_attention(config: Any, asked: Collection[Attention] = ()) -> None:
    """Raise where a family does not attend as views ask, tried on a few narrow layers with random weights.

    Some families ignore masks, or the argument that turns causality off, without an error; and some take one mask for
    all layers where only some have sliding windows.

    Args:
        config: of the backbone.
        asked: attention of the views to come; all where none is named. Of a model whose layers are of several kinds
            these alone are tried, of each kind alone all.

    Raises:
        InputError: where a view sees what it must not, does not see what it must, or does not run.
    """
    with wrap_errors(f"a {config.model_type} backbone whose depth can be set", "choose another model_type"):
        shallows = [(small, sliding_windows(small)) for small in shallow_configs(config)]
    for small, kinds in shallows:
        tried = frozenset(asked) if asked and len(kinds) > 1 else _ALL
        try:
            found = measure_narrow(small, find_leak, tried)
        except Exception:  # of sizes that do not shrink so; the true width is slower, and has its own messages
            with torch.device("meta"):
                new_model(config)
            try:
                found = measure_model(small, find_leak, tried)
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
    """Whether a family can read rows that hold parts of several documents as if each were in a row of its own."""
    try:
        return all(measure_narrow(small, _can_pack) for small in shallow_configs(config))
    except Exception:  # sizes that do not shrink so, or do not run at all, which `check_attention` reports
        return False


def _can_pack(model: Any) -> bool:
    packs = (_keeps_documents_apart(model, attention) for attention in ("causal", "bidirectional"))
    return accepts_argument(model, "position_ids") and all(packs)


@torch.no_grad()
def find_leak(model: Any, asked: Collection[Attention] = _ALL) -> str | None:
    """What is wrong with the attention that views get, seen in hidden states; `None` where it is right.

    Each attention asked for that makes sense is tried alone and merged with another, with padding and without; a layer
    with a sliding window has to see that far and no further, in each of them. Of an encoder-decoder, the decoder's
    labels are tried too.
    """
    training = model.training
    model.eval()
    try:
        if model.config.is_encoder_decoder:
            return _leak_between(model, {"bidirectional"}) or _leak_into_decoder(model)
        return _leak_between(model, asked) or _other_windows(model, asked)
    finally:
        model.train(training)


def _leak_between(model: Any, asked: Collection[Attention]) -> str | None:
    """What is wrong with which positions of a row see one another."""
    ids = torch.arange(4, 4 + _TIME).repeat(1 + _TIME, 1)
    ids[1:].diagonal().add_(_TIME)  # each row differs from the first in a token of its own
    patterns = [pattern for pattern in _MERGED_WITH if pattern in asked]
    for attention, length, merged in itertools.product(patterns, (_TIME, _TIME - 2), (False, True)):
        if merged and _MERGED_WITH[attention] not in asked:
            continue
        views = [_view(ids, attention, length), *([_view(ids, _MERGED_WITH[attention])] if merged else [])]
        changed = ~unchanged_states(encode(model, views)[0])[1:, :length].T  # by position, and by the token changed
        where = f"a {attention} view{' with padding' * (length < _TIME)}{' merged with another' * merged}"
        if found := _wrong(changed[:, :length], attention, _layer_windows(model.config)):
            return f"{where} {found}"
        if changed[:, length:].any():
            return f"{where} sees the padding"
    return None


def _wrong(sees: Bool[Tensor, "time time"], attention: Attention, windows: Sequence[float]) -> str | None:
    """What is wrong with which tokens, the second axis, a position sees, by the definition of its attention."""
    position = torch.arange(len(sees))
    past = position[:, None] - position
    may = (past >= 0) | (attention == "bidirectional") | ((attention == "prefix") & (position < _PREFIX))
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


def _layer_windows(config: Any) -> list[float]:
    """Sliding window of each layer in order, infinite where it has none."""
    windows = sliding_windows(config)
    kinds = getattr(config, "layer_types", None) or [""] * config.num_hidden_layers
    return [float(windows[kind] or math.inf) for kind in kinds]


def _other_windows(model: Any, asked: Collection[Attention]) -> str | None:
    """Whether masks differ from the sliding windows of the family itself, where views are asked for that need masks.

    A layer without a window hides those of the others from `_leak_between`.
    """
    own: Attention = "causal" if is_decoder(model.config.model_type) else "bidirectional"
    windows = sliding_windows(model.config)
    if not any(windows.values()) or set(asked) == {own}:
        return None
    view = _view(torch.arange(4, 4 + _TIME)[None], own)
    masked = model(input_ids=view.input_ids, attention_mask=attention_masks([view], windows)).last_hidden_state
    same = unchanged_states(torch.cat([*encode(model, [view]), masked])).all()
    return None if same else f"a {own} view has other windows"


def _leak_into_decoder(model: Any) -> str | None:
    """What is wrong with what a decoder sees of the labels before each, and of what the encoder reads."""
    ids, labels = torch.arange(4, 10).repeat(4, 1), torch.arange(5, 10).repeat(4, 1)
    labels[1, 2] = ids[2, 2] = ids[3, 4] = 11  # rows differ from the first in one token
    for length in (6, 4):
        same = unchanged_states(encode(model, [replace(_view(ids, "bidirectional", length), decoder_labels=labels)])[0])
        where = f"a decoder{' with padding before it' * (length < 6)}"
        if not same[1, :3].all():  # a state predicts the label of its own position
            return f"{where} sees the label to predict"
        if same[1, 3:].any():
            return f"{where} does not see the labels before"
        if same[2].any():
            return f"{where} does not see what the encoder reads"
        if length < 6 and not same[3].all():
            return f"{where} sees the padding"
    return None


def _keeps_documents_apart(model: Any, attention: Attention) -> bool:
    """Whether hidden states of two documents in one row are those of each alone."""
    rows = torch.tensor([[4, 5, 6, 7, 8, 9], [9, 5, 4, 7, 6, 8]])
    positions = torch.tensor([[0, 1, 0, 1, 2, 3], [0, 1, 2, 3, 0, 1]])
    [packed] = encode(model, [replace(_view(rows, attention), position_ids=positions)])
    parts = [part[None] for row, cut in ((0, 2), (1, 4)) for part in rows[row].split([cut, 6 - cut])]
    alone = torch.cat([encode(model, [_view(part, attention)])[0][0] for part in parts]).view_as(packed)
    return bool(unchanged_states(torch.stack([packed, alone])).all())
