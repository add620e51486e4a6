"""Check a set of objectives, and make the backbone and their heads."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.corruptions.random import derive_seed
from lm_objectives.data.plan import ObjectiveRows, check_row_sharing
from lm_objectives.errors import InputError, expect
from lm_objectives.objectives.base import Objective, load_pretrained_heads
from lm_objectives.optim import LRSchedule
from lm_objectives.optim.factory import factory_from_config
from lm_objectives.plugin import from_config
from lm_objectives.views import Vocabulary


def accept_configs(init: Callable[..., None]) -> Callable[..., None]:
    """Let a constructor take its arguments as a checkpoint's hyperparameters have them, too: `load_from_checkpoint` of
    Lightning hands these over."""

    @wraps(init)
    def rebuild(self: Any, *args: Any, **kwargs: Any) -> None:
        for name, value in kwargs.items():
            if name == "optimizer":
                kwargs[name] = factory_from_config(value)
            elif name == "lr_schedule":
                kwargs[name] = LRSchedule(**value) if isinstance(value, dict) else value
            else:
                kwargs[name] = from_config(value)
        init(self, *args, **kwargs)

    return rebuild


def check_objectives(objectives: Mapping[str, Objective]) -> dict[str, ObjectiveRows]:
    """Check that objectives can be trained together under their names; returns how each gets its rows."""
    expect(
        bool(objectives), "at least one objective in model.objectives", "none", "add one, for example causal: CausalLM"
    )
    sources = {name: ObjectiveRows(o.corruption, o.share, o.shares_rows_with) for name, o in objectives.items()}
    check_row_sharing(sources)
    generators = {name for name, objective in objectives.items() if type(objective).fill_in is not Objective.fill_in}
    for name, objective in objectives.items():
        expected = "objectives' names that Python has no use for"
        expect(name.isidentifier() and not hasattr(nn.ModuleDict, name), expected, repr(name), "rename it")
        if objective.shares_rows_with and generators & {name, objective.shares_rows_with}:
            raise InputError(
                f"expected objectives that leave tokens alone to share a view, found {name} with shares_rows_with "
                f"{objective.shares_rows_with}, one of which has a generator: give {name} rows of its own"
            )
    return sources


def build_model(
    backbone: Backbone,
    objectives: Mapping[str, Objective],
    vocabulary: Vocabulary,
    seq_len: int,
    seed: int,
    target_counts: Mapping[str, Tensor],
) -> None:
    """Make the backbone and each objective's head; weights depend on the seed alone, and a head's on its name."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        backbone.setup(vocabulary, seq_len, {name: objective.corruption for name, objective in objectives.items()})
        for name, objective in objectives.items():
            objective.target_counts = target_counts.get(name)
            torch.default_generator.manual_seed(int(derive_seed(seed, "head", name)) >> 1)
            objective.setup(backbone, vocabulary)
        if backbone.pretrained_weights is not None:
            load_pretrained_heads(backbone, objectives)
