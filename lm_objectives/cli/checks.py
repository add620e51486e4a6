"""Checks of settings, data and checkpoint before anything is written."""

import copy
import logging
import os
import re
from collections.abc import Iterable
from difflib import get_close_matches
from functools import partial
from inspect import isabstract
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import lightning.pytorch as L
from torch.optim import Optimizer

from lm_objectives.backbone.config import count_parameters
from lm_objectives.balancers import Balancer
from lm_objectives.callbacks.initial_weights import match_weights
from lm_objectives.cli.arguments import Setting
from lm_objectives.cli.monitors import check_monitors
from lm_objectives.data.datamodule import TextDataModule
from lm_objectives.data.tokenizer import load_tokenizer
from lm_objectives.data.trainer import training_steps
from lm_objectives.errors import InputError, expect
from lm_objectives.objectives import Objective
from lm_objectives.plugin import import_users, to_config
from lm_objectives.ranges import is_within
from lm_objectives.training.checkpoint import check_same_shapes, read_checkpoint
from lm_objectives.training.experiment import check_backbone, check_experiment, check_tokenizer, describe_experiment
from lm_objectives.training.module import Pretraining

_log = logging.getLogger("lm_objectives")


def preflight(
    module: Pretraining,
    data: TextDataModule,
    trainer: L.Trainer,
    checkpoint: str | None,
    weights: str | None,
    goes_on: bool,
) -> None:
    """Build a copy of everything, in shapes alone, and read the checkpoint that a run goes on from or begins with.

    Args:
        module: the module that will be trained or scored.
        data: its data module.
        trainer: its trainer.
        checkpoint: the checkpoint that is read, if any.
        weights: the checkpoint whose weights a new run begins with, if any.
        goes_on: whether it trains, from the checkpoint on if there is one.

    Raises:
        InputError: where settings do not fit one another, the corpus, or the checkpoint.
    """
    for name in ("accumulate_grad_batches", "val_check_interval", "check_val_every_n_epoch"):
        value = getattr(trainer, name, None)  # an interval of time leaves no val_check_interval
        expect(value is None or value > 0, f"trainer.{name} above 0", value, "raise it")
    every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
    expect(every >= 0, "trainer.log_every_n_steps of at least 0", every, "0 logs nothing")
    expected = "a finite trainer.gradient_clip_val of at least 0"
    expect(is_within(trainer.gradient_clip_val or 0, 0), expected, trainer.gradient_clip_val, "1.0 is usual")
    read, saved = read_checkpoint(checkpoint, "resume" if goes_on else "file") if checkpoint else (None, None)
    pretrained = to_config(module.backbone) if module.backbone.pretrained else None
    if read and saved and read["hyper_parameters"]["backbone"] == pretrained:
        module.backbone.load_architecture(saved.architecture)  # the folder may be gone, and all its weights be replaced
    if not module.backbone.pretrained:
        parameters = count_parameters(module.backbone.early_config())
        if not module.backbone.arguments and trainer.is_global_zero:
            said = "model.backbone.config is empty: the %s has its family's own size, %s parameters without tokens"
            _log.info(said, module.backbone.model_type, f"{parameters:,}")
    data.open(module.sources, module.backbone.supports_packing, trainer)
    data.check(trainer)
    if goes_on:
        data.check_scored()
    data.target_counts()
    if trainer.limit_val_batches or not goes_on:
        data.val_dataloader()
    if module.backbone.pretrained:
        _check_tokens(module.backbone.pretrained, data.text.folder / "tokenizer")
    trial = copy.deepcopy(module)
    device = None if module.backbone.pretrained else "meta"
    level = _log.level
    _log.setLevel(logging.ERROR)  # what building says will be said again
    try:
        trial.build(data.vocabulary, data.seq_len, training_steps(trainer, data.steps_per_epoch), device)
    finally:
        _log.setLevel(level)
    trial.lr_schedule.factor(0, trial.steps)
    trial.weights(0)
    if goes_on:
        check_monitors(trial, trainer)
    trial.lr = saved.lr if saved else None
    optimizer: Optimizer = trial.configure_optimizers()["optimizer"]
    files = data.text.tokenizer_files
    if checkpoint and read and saved:
        check_tokenizer(saved, files, data.vocabulary, checkpoint)
        if goes_on and saved.experiment is not None:
            if "PL_GLOBAL_SEED" not in os.environ:  # with seed_everything false the seed is the checkpoint's
                trial.seed = saved.seed
            now = describe_experiment(trial, trainer, data, optimizer)
            check_experiment(now, saved.experiment, f"--weights {checkpoint} in place of --ckpt_path")
        check_backbone(trial.backbone.architecture(), saved.architecture)
        check_same_shapes(trial.state_dict(), read["state_dict"])
    if weights:
        read, saved = read_checkpoint(weights)
        check_tokenizer(saved, files, data.vocabulary, weights)
        match_weights(trial.state_dict(), read["state_dict"], weights)


def _check_tokens(pretrained: str, folder: Path) -> None:
    """Raise where the tokenizer that lies beside pretrained weights is not the one of the data."""
    if not (Path(pretrained) / "tokenizer.json").is_file():
        return
    tokens = load_tokenizer(str(folder)).get_vocab()
    for token, number in load_tokenizer(pretrained).get_vocab().items():
        if tokens.get(token) != number:
            raise InputError(
                f"expected the tokenizer in {pretrained}, found another one, whose token {number} is not {token!r}: "
                f"set data.tokenizer to {pretrained}"
            )


_PLUGIN = re.compile(r"model\.(?:objectives\.\w+|balancer|optimizer)(?:\.class_path)?")


def check_user_classes(settings: Iterable[Setting]) -> None:
    """Import each plug-in that the settings name, and look up each short name, as the parser will.

    Raises:
        InputError: where there is no such module or class, or the class is of another kind.
    """
    for _, _, key, name in settings:
        if not isinstance(name, str) or not _PLUGIN.fullmatch(key) or not all(map(str.isidentifier, name.split("."))):
            continue
        kind = Objective if "objectives" in key else Balancer if "balancer" in key else Optimizer
        path, _, short = name.rpartition(".")
        classes = _contents(import_users(path, f"for {name}")) if path else _subclasses(kind)
        found = classes.get(short)
        if isinstance(found, partial) or _makes(found, kind):
            continue
        names = sorted(n for n, c in classes.items() if isinstance(c, type) and issubclass(c, kind) and n[0] != "_")
        near = "".join(f"did you mean {other}? " for other in get_close_matches(short, names, 1))
        raise InputError(
            f"expected a class that inherits from {kind.__name__} in {key}, found {name!r}: {near}there are "
            f"{', '.join([*names, 'your own by their import path, as in my_module.MyClass'])}"
        )


def _makes(found: Any, kind: type) -> bool:
    """Whether it is such a class, or a function that is annotated to return one."""
    if callable(found) and not isinstance(found, type):
        try:
            found = get_type_hints(found).get("return")
        except (NameError, TypeError):  # names that its module lacks; a builtin
            return False
    return isinstance(found, type) and issubclass(found, kind)


def _subclasses(kind: type) -> dict[str, Any]:
    """All concrete classes that inherit from a kind: the parser takes them without their modules."""
    found: list[type] = kind.__subclasses__()
    for made in found:
        found += made.__subclasses__()
    return {made.__name__: made for made in found if not isabstract(made)}


def _contents(module: ModuleType) -> dict[str, Any]:
    """What a module holds by name, a lazy one's too."""
    return {name: getattr(module, name, None) for name in dir(module)}
