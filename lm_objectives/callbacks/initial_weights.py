"""Begin a new run with the weights of a checkpoint."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as L
from torch import Tensor

from lm_objectives.errors import expect
from lm_objectives.training.checkpoint import read_checkpoint, shapes_of
from lm_objectives.training.experiment import check_tokenizer

_log = logging.getLogger("lm_objectives")

_BACKBONE, _OBJECTIVES = "backbone.", "objectives."


@dataclass(frozen=True)
class MatchedWeights:
    """Which weights of a checkpoint a model takes.

    Attributes:
        state: of the backbone and of heads, by their names in the model.
        taken: objectives whose head is the checkpoint's.
        fresh: objectives whose head stays as it was drawn.
        unused: objectives of the checkpoint whose head is not taken.
    """

    state: dict[str, Tensor]
    taken: list[str]
    fresh: list[str]
    unused: list[str]

    def __str__(self) -> str:
        parts = {"fresh": self.fresh, "not used": self.unused}
        heads = f", and the heads of {', '.join(self.taken)}" if self.taken else ""
        return f"the backbone{heads}" + "".join(f"; {key}: {', '.join(names)}" for key, names in parts.items() if names)


class InitialWeights(L.Callback):
    """Begins a new run with the model weights of a checkpoint: those of the backbone, and of heads.

    Heads go by their objectives' names, where all of their shapes agree. Steps, schedule, optimizer, balancer and rows
    begin anew. A log message tells which heads are left fresh, and which of the checkpoint's are not used.

    Args:
        path: a checkpoint of this package, of the same backbone.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def on_fit_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        resumes = bool(trainer._checkpoint_connector._loaded_checkpoint)  # `ckpt_path` also names a finder's own
        if resumes or trainer.global_step:  # a run that goes on has weights of its own
            return
        checkpoint, saved = read_checkpoint(self.path)
        check_tokenizer(saved, pl_module.tokenizer_files, pl_module.vocabulary, self.path)
        matched = match_weights(pl_module.state_dict(), checkpoint["state_dict"], self.path)
        pl_module.load_state_dict(matched.state, strict=False)
        if trainer.is_global_zero:
            _log.info("%s: begins with %s", self.path, matched)


def match_weights(own: Mapping[str, Any], saved: Mapping[str, Any], path: str) -> MatchedWeights:
    """Find the weights of a checkpoint that a model can begin with.

    Args:
        own: the model's state dict.
        saved: the checkpoint's.
        path: its file, for the message.

    Raises:
        InputError: where the backbone is another: half of one is none.
    """
    here, there = ({n: v for n, v in state.items() if n.startswith(_BACKBONE)} for state in (own, saved))
    shapes, others = shapes_of(here), shapes_of(there)
    for name in [*shapes, *others]:
        found = f"another, whose {name} is {others.get(name, 'nothing')} and here {shapes.get(name, 'nothing')}"
        expect(shapes.get(name) == others.get(name), f"weights of this backbone at {path}", found, "give its sizes")
    mine, theirs = _heads(own), _heads(saved)
    same = [name for name in mine if name in theirs and shapes_of(mine[name]) == shapes_of(theirs[name])]
    state = there | {key: value for name in same for key, value in theirs[name].items()}
    rest = ([name for name in heads if name not in same] for heads in (mine, theirs))
    return MatchedWeights(state, same, *rest)


def _heads(state: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The weights of heads by the objectives' names; without those that have none of their own."""
    heads: dict[str, dict[str, Any]] = {}
    for name, value in state.items():
        if name.startswith(_OBJECTIVES):
            heads.setdefault(name.split(".")[1], {})[name] = value
    return heads
