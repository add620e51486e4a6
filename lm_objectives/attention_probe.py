"""Whether a family attends as views ask: tried on a few narrow layers, since some ignore masks without a word."""

import copy
import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from lm_objectives.backbone import Backbone
from lm_objectives.configuration import from_config, has_windows, narrowed, one_line, takes_positions
from lm_objectives.corruption.base import Attention, View

_OTHER: dict[Attention, Attention] = {"causal": "bidirectional", "bidirectional": "causal"}
_ROUNDING = 1e-5  # of hidden states in float32, relative to the largest


def check_attention(config: Any) -> None:
    """Raise where a family does not attend as views ask, tried on real weights of a few narrow layers.

    Some families ignore masks, or the argument that turns causality off, without a word.

    Raises:
        ValueError: where a view sees what it must not, does not see what it must, or does not run.
    """
    with one_line(f"a {config.model_type} backbone whose depth can be set", "choose another model_type"):
        shallows = list(_shallow(config))
    for shallow in shallows:
        try:
            found = _leak_of(config.model_type, _described(shallow))
        except Exception:  # of sizes that do not shrink so; the true width is slower, and has its own messages
            with torch.device("meta"):
                from_config(config)
            try:
                found = _leak_in(shallow)
            except Exception as error:
                found = f"a view raises {type(error).__name__} ({' '.join(str(error).split()).rstrip('.')})"
        if found:
            raise ValueError(
                f"expected a backbone whose attention can be set, found {config.model_type}, where {found}: "
                "llama and bert are examples"
            )


def keeps_parts_apart(config: Any) -> bool:
    """Whether a family can read rows that hold parts of several documents as if each stood alone."""
    if has_windows(config) or not takes_positions(config):
        return False
    try:
        return all(_packs(config.model_type, _described(shallow)) for shallow in _shallow(config))
    except Exception:  # sizes that do not shrink so, or do not run at all, which `check_attention` says
        return False


def _described(config: Any) -> str:
    """A narrow configuration in words, for what is remembered by them."""
    return narrowed(config, min(64 / config.hidden_size, 1.0)).to_json_string()


@lru_cache
def _leak_of(model_type: str, described: str) -> str | None:
    from transformers import CONFIG_MAPPING

    return _leak_in(CONFIG_MAPPING[model_type].from_dict(json.loads(described)))


@lru_cache
def _packs(model_type: str, described: str) -> bool:
    from transformers import CONFIG_MAPPING

    with _trial(CONFIG_MAPPING[model_type].from_dict(json.loads(described))) as backbone:
        return all(packed_error(backbone, attention) <= _ROUNDING for attention in ("causal", "bidirectional"))


def _leak_in(config: Any) -> str | None:
    """What is wrong with the attention of a model of this configuration."""
    with _trial(config) as backbone:
        return leak(backbone)


@contextmanager
def _trial(config: Any) -> Iterator[Backbone]:
    """A model of a configuration with weights that tell; draws no global random numbers."""
    generator = torch.Generator("cpu").manual_seed(0)
    with torch.device("cpu"), torch.random.fork_rng(devices=[]):
        trial = Backbone(model_type=config.model_type)
        trial.config = config
        trial._attach(from_config(config).float())
        for parameter in trial.parameters():
            if parameter.ndim > 1:  # wider than families draw them, or rounding would hide what attention does; and
                # not so wide that T5's, which does not divide by the width of a head, looks at one token alone
                nn.init.normal_(parameter, std=0.5 * parameter.shape[-1] ** -0.5, generator=generator)
        trial.model.eval()
        yield trial


def _shallow(config: Any) -> Iterator[Any]:
    """For each kind of layer a configuration of one alone; one of two layers where a family has no kinds."""
    depth, kinds = config.num_hidden_layers, getattr(config, "layer_types", None) or []
    for kept in [[kinds.index(kind)] for kind in dict.fromkeys(kinds)] or [list(range(min(depth, 2)))]:
        small = copy.deepcopy(config)
        for name, value in vars(config).items():
            if isinstance(value, list) and len(value) == depth:  # what is said of each layer
                small.__dict__[name] = [value[index] for index in kept]
            elif name.endswith("_token_id") and isinstance(value, int):
                setattr(small, name, 0)
        small.num_hidden_layers, small.vocab_size = len(kept), 16
        for name in ("num_decoder_layers", "decoder_layers"):
            if hasattr(small, name):
                setattr(small, name, min(getattr(small, name), 2))
        yield small


@torch.no_grad()
def leak(backbone: Backbone) -> str | None:
    """What is wrong with the attention that views get, seen in hidden states; `None` where it is right.

    Each pattern that makes sense is tried alone and, where no layer is windowed, merged with the other; with padding
    and without. A decoder behind an encoder is tried on what it writes.
    """
    training = backbone.model.training
    backbone.model.eval()
    try:
        return _leak_between(backbone) or (_leak_into_decoder(backbone) if backbone.writes else None)
    finally:
        backbone.model.train(training)


def _leak_between(backbone: Backbone) -> str | None:
    """What is wrong with what the positions of a row see of one another."""
    base = torch.arange(4, 10)
    ids = base.repeat(3, 1)
    ids[1, 2], ids[2, 4:] = 11, 12  # rows differ from the first in a token, and in what its padding holds
    patterns: tuple[Attention, ...] = ("bidirectional",) if backbone.writes else ("causal", "bidirectional")
    sides = (False,) if backbone.windowed or backbone.writes else (False, True)
    for attention, length, merged in itertools.product(patterns, (6, 4), sides):
        views = [_bare(ids, length, attention), *([_bare(ids, 6, _OTHER[attention])] if merged else [])]
        still = _still(backbone.encode(views)[0])
        where = f"a {attention} view{' with padding' * (length < 6)}{' beside another' * merged}"
        if attention == "causal" and not still[1, :2].all():
            return f"{where} sees what follows"
        if attention == "bidirectional" and (still[1, 1] if backbone.windowed else still[1, :2].any()):
            return f"{where} does not see what follows"
        if still[1, 2:length].any() if not backbone.windowed else still[1, 2]:
            return f"{where} does not see what precedes"
        if length < 6 and not still[2, :length].all():
            return f"{where} sees what the padding holds"
    return None


def _leak_into_decoder(backbone: Backbone) -> str | None:
    """What is wrong with what a decoder sees of what it writes, and of what the encoder reads."""
    ids, decoder = torch.arange(4, 10).repeat(4, 1), torch.arange(5, 10).repeat(4, 1)
    decoder[1, 2] = ids[2, 2] = ids[3, 4] = 11  # rows differ from the first in one token
    for length in (6, 4):
        still = _still(backbone.encode([replace(_bare(ids, length, "bidirectional"), decoder=decoder)])[0])
        where = f"a decoder{' behind padding' * (length < 6)}"
        if not still[1, :3].all():  # a state writes the token of its own position
            return f"{where} sees what it is to write"
        if still[1, 3:].any():
            return f"{where} does not see what it has written"
        if still[2].any():
            return f"{where} does not see what is read"
        if length < 6 and not still[3].all():
            return f"{where} sees what the padding holds"
    return None


def _still(hidden: Tensor) -> Tensor:
    """Whether the state of each position is that of the first row, up to rounding, `(rows, time)`."""
    return ((hidden - hidden[0]).abs() <= _ROUNDING * hidden.abs().amax()).all(-1)


@torch.no_grad()
def packed_error(backbone: Backbone, attention: Attention) -> float:
    """How far hidden states of a row of two documents are from those of each alone, relative to the largest."""
    rows = torch.tensor([[4, 5, 6, 7, 8, 9], [9, 5, 4, 7, 6, 8]])
    positions = torch.tensor([[0, 1, 0, 1, 2, 3], [0, 1, 2, 3, 0, 1]])
    packed = replace(_bare(rows, 6, attention), positions=positions)
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
    """A view in which nothing is scored and all rows are of one length."""
    none = ids.new_zeros(0)
    return View(ids, ids.new_full((len(ids),), length), attention, none, none, {}, length < ids.shape[1])
