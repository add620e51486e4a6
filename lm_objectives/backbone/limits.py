"""Bounds on the numbers of a configuration, and on the size of its model."""

import os
import re
from typing import Any

from lm_objectives.errors import expect
from lm_objectives.ranges import LARGEST, is_within

_MOST_LAYERS = 1000  # DeepNet's; and heads, groups and experts
_MOST_NEURONS = 2**31 - 1
_BYTES = 4  # of a weight, in single precision

_COUNTS = re.compile(r"layers?$|heads?$|experts$|groups$|group_num$")
_WIDTHS = re.compile(
    "size$|^n_(embd|inner|positions|ctx)$|^d_[a-z]+$|_dim$|embeddings$|_(buckets|distance)$"
    "|^(sliding_window|local_attention)$"
)
_SHARES = re.compile(r"drop|_prob$")
_ABOVE_ZERO = re.compile(r"eps$|epsilon$|theta$|base$")
_AT_LEAST_ZERO = re.compile(r"_range$|_std$|_token_id$")


def check_numbers(arguments: dict[str, Any]) -> None:
    """Raise for a number that no model has, before a model of that size is begun."""
    mend = "leave it out, since the tokenizer says it"
    expect("vocab_size" not in arguments, "no vocab_size in model.backbone.config", arguments.get("vocab_size"), mend)
    for name, value in arguments.items():
        _check_number(name, value)


def _check_number(name: str, value: Any) -> None:
    if isinstance(value, (list, tuple, dict)):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            _check_number(name if isinstance(key, int) else key, part)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return
    if _SHARES.search(name):
        expect(is_within(value, 0, 1), f"{name} from 0 to 1 in model.backbone.config", value, "0 turns it off")
    elif isinstance(value, int) and _COUNTS.search(name):
        expect(
            is_within(value, 0, _MOST_LAYERS),
            f"{name} from 0 to {_MOST_LAYERS} in model.backbone.config",
            value,
            "change it",
        )
    elif _WIDTHS.search(name):
        expected = f"{name} from 1 to {_MOST_NEURONS} in model.backbone.config"
        expect(is_within(value, 1, _MOST_NEURONS) and value == int(value), expected, value, "change it")
    elif _ABOVE_ZERO.search(name):
        expect(
            is_within(value, 0) and value > 0, f"a finite {name} above 0 in model.backbone.config", value, "change it"
        )
    elif _AT_LEAST_ZERO.search(name):
        expect(is_within(value, 0), f"a finite {name} of at least 0 in model.backbone.config", value, "change it")
    most = LARGEST if isinstance(value, float) else _MOST_NEURONS
    expect(is_within(value, -most, most), f"{name} within ±{most} in model.backbone.config", value, "change it")


def check_memory(parameters: int, what: str, available: int | None = None) -> None:
    """Raise for a model whose weights alone do not fit into this machine's memory.

    Args:
        parameters: how many it has.
        what: the model, for the message.
        available: bytes of memory, by default this machine's.
    """
    available = physical_memory() if available is None else available
    expected = f"a backbone whose weights fit into the {available / 2**30:,.1f} GiB of memory here"
    found = f"{what} of {parameters:,} parameters, {parameters * _BYTES / 2**30:,.1f} GiB"
    fits = not available or parameters * _BYTES <= available
    expect(fits, expected, found, "lower its sizes in model.backbone.config")


def physical_memory() -> int:
    """Bytes of memory that this machine has, 0 where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 0
