"""The text that a user reads of an error, and hints for unknown settings."""

import re
import sys
from collections.abc import Iterable
from difflib import get_close_matches

from jsonargparse import ArgumentError
from lightning.fabric.utilities.exceptions import MisconfigurationException

from lm_objectives.cli.faults import causes_of, of_worker
from lm_objectives.cli.refusals import shorten_refusal
from lm_objectives.errors import InputError

_RENAMED = {  # words of version 0.1: unknown like any other, named in hints alone
    "window": "seq_len",
    "rows_per_step": "global_batch_size",
    "unit": "batch_multiple",
    "txt_documents": "documents",
    "view_of": "shares_rows_with",
    "rate": "noise_density",
    "mean": "mean_noise_span_length",
    "schedule": "lr_schedule",
    "final": "min_lr_ratio",
    "hold": "hold_steps",
    "decay": "decay_steps",
    "shape": "decay_type",
    "flat": "plateau_tolerance",
    "target": "target_loss",
}

_FEW = 20  # names that fit in a line

_KINDS = {  # of errors that the user can mend, with how they are said
    InputError: "{}",
    ArgumentError: "{}",
    MisconfigurationException: "expected trainer settings that can be carried out here, found: {}: change them; "
    "trainer.accelerator auto takes what there is",
}


_WANDB = "expected Weights & Biases to take the run, found: {}: log in, or set tracking.wandb to offline or off"


def user_message(error: BaseException) -> str | None:
    """The text of an error that the user can mend; None for any other.

    A parser wraps what a constructor raises, so the causes of the error are searched too.
    """
    kinds = _KINDS | ({sys.modules["wandb"].Error: _WANDB} if "wandb" in sys.modules else {})
    for kind, text in kinds.items():
        for cause in causes_of(error):
            if isinstance(cause, kind):
                said = " ".join(of_worker(str(cause)).split())
                said = shorten_refusal(said) if kind is ArgumentError else said
                return text.format(said.rstrip(".!"))
    return None


def with_hint(message: str, known: Iterable[str]) -> str:
    """A parser's message on an unknown setting, with the setting that was probably meant.

    Args:
        message: the message, which names the setting as an option.
        known: all settings of that parser, dotted.
    """
    found = re.search(r"(?:--|option ')([\w.]+)", message, re.IGNORECASE)
    return f"{message}: {nearest(found[1], known) if found else 'write settings as --name value'}"


def nearest(key: str, known: Iterable[str]) -> str:
    """How to mend an unknown key.

    >>> nearest("data.window", ["data.seq_len", "data.packing"])
    'did you mean data.seq_len?'
    """
    known = [name for name in known if name != "help" and not name.startswith("print_")]
    renamed = ".".join(_RENAMED.get(part, part) for part in key.split("."))
    moved = [name for name in known if f"{renamed}.".startswith(f"{name}.") and not f"{key}.".startswith(f"{name}.")]
    near = sorted(moved)[-1:] or [name for name in known if name.startswith(key)]
    near = near or get_close_matches(key, known, 1, 0.6) or get_close_matches(key.split(".")[-1], known, 1, 0.75)
    if near:
        return f"did you mean {near[0]}?"
    return f"there are {', '.join(known)}" if len(known) <= _FEW else "--help lists all settings"
