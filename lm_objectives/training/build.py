"""Check a set of objectives, make the backbone and their heads, and hold them against data."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import lightning.pytorch as L
import torch
from torch import Tensor, nn

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.backbone.config import check_seq_len
from lm_objectives.balancers.base import Balancer, Needs
from lm_objectives.corruptions.random import derive_seed
from lm_objectives.data.datamodule import TextDataModule
from lm_objectives.data.plan import ObjectiveRows, check_row_sharing
from lm_objectives.data.tokenizer import same_tokens
from lm_objectives.errors import InputError, expect
from lm_objectives.objectives.base import Objective, load_pretrained_heads
from lm_objectives.views import Vocabulary


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


def check_weights(weights: Tensor, balancer: Balancer, names: Sequence[str]) -> Tensor:
    """A balancer's weights, checked to be one for each objective, and on a CPU, where nothing waits, at least 0."""
    expected = f"a weight for each of {', '.join(names)} from {type(balancer).__name__}.weights"
    mend = f"return {len(names)} numbers"
    expect(weights.shape == (len(names),), expected, f"shape {tuple(weights.shape)}", mend)
    if weights.device.type == "cpu" and not balancer.deferred:
        valid, expected = (weights >= 0) & weights.isfinite(), "finite weights of at least 0 from"
        expect(bool(valid.all()), f"{expected} {type(balancer).__name__}.weights", weights.tolist(), "bound them")
    return weights


def check_needs(balancer: Balancer) -> None:
    """Raise where a balancer needs what there is not."""
    known = get_args(Needs)
    balancer.expect(
        balancer.needs in known, f"needs to be one of {', '.join(known)}", repr(balancer.needs), "correct it"
    )


def training_seed(trainer: L.Trainer | None) -> int:
    """The seed of a module's random numbers, the same on every rank of a Trainer."""
    seed = torch.initial_seed()
    return seed if trainer is None else int(trainer.strategy.broadcast(seed))


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


def data_of(trainer: Any) -> TextDataModule:
    """The data module that a Trainer was given; raises where there is none, or another kind."""
    data = trainer.datamodule
    found, mend = "none" if data is None else type(data).__name__, "pass datamodule= to the Trainer"
    expect(isinstance(data, TextDataModule), "a TextDataModule for the module", found, mend)
    return data


def check_data(module: Any, data: TextDataModule) -> None:
    """Raise where a module that is made cannot read data: of another tokenizer, or of rows that are too long for it."""
    expect(
        same_tokens(module.tokenizer_files, data.text.tokenizer_files) and module.vocabulary == data.vocabulary,
        f"data with the tokenizer that the module was made for, of {module.vocabulary.size} tokens",
        f"another one, of {data.vocabulary.size}",
        "give its folder as data.tokenizer, or make a new module",
    )
    check_seq_len(module.backbone.config, data.seq_len)


def begins(trainer: L.Trainer) -> bool:
    """Whether a fit begins a training; one of a Trainer that has done all of its steps does nothing.

    Raises:
        InputError: where the Trainer is in the middle of another training, whose optimizer is gone.
    """
    done = trainer.global_step
    fresh = done == 0 or trainer.ckpt_path is not None
    expected, mend = "a new Trainer for another fit", "make one, or go on from a checkpoint by ckpt_path"
    expect(fresh or trainer.fit_loop.done, expected, f"one that has done {done} steps of another", mend)
    return fresh
