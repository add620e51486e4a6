"""Checks of a command's settings before anything is written."""

import copy
import logging
import re
import traceback
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import yaml

from lm_objectives.balancers import Balancer
from lm_objectives.cli.arguments import config_paths, named_value
from lm_objectives.cli.messages import is_about_input
from lm_objectives.data.datamodule import TextDataModule, training_steps
from lm_objectives.data.tokenizer import load_tokenizer, read_tokenizer_files
from lm_objectives.errors import InputError
from lm_objectives.objectives import Objective
from lm_objectives.plugin import to_config
from lm_objectives.training.checkpoint import KEY, check_same_shapes, read_checkpoint
from lm_objectives.training.module import Pretraining

_log = logging.getLogger("lm_objectives")


def preflight(
    module: Pretraining, data: TextDataModule, trainer: L.Trainer, checkpoint: str | None, goes_on: bool
) -> None:
    """Build a copy of everything, in shapes alone, and read the checkpoint that a run goes on from.

    Args:
        module: the module that will be trained or scored.
        data: its data module.
        trainer: its trainer.
        checkpoint: the checkpoint that is read, if any.
        goes_on: whether it trains, from the checkpoint on if there is one.

    Raises:
        ValueError: where settings do not fit one another, the corpus, or the checkpoint.
    """
    for name in ("accumulate_grad_batches", "log_every_n_steps", "val_check_interval"):
        value = getattr(trainer, name)
        if value is not None and not value > 0:
            raise InputError(f"expected trainer.{name} above 0, found {value}: raise it")
    if (trainer.gradient_clip_val or 0) < 0:
        raise InputError(
            f"expected trainer.gradient_clip_val of at least 0, found {trainer.gradient_clip_val}: 1.0 is usual"
        )
    read = read_checkpoint(checkpoint) if checkpoint else None
    if read and module.backbone.pretrained and read["hyper_parameters"]["backbone"] == to_config(module.backbone):
        module.backbone.load_architecture(
            read[KEY]["backbone"]
        )  # the folder may be gone, and all its weights would be replaced
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
    _check_monitors(trial, trainer)
    try:
        trial.configure_optimizers()
    except (TypeError, ValueError) as error:
        if is_about_input(str(error)):
            raise
        raise InputError(f"expected an optimizer that can be made, found {error}: change model.optimizer") from error
    if checkpoint and read:
        check_same_shapes(trial.state_dict(), read["state_dict"])
        _check_rows(read[KEY], data, checkpoint, goes_on)


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


def _check_rows(saved: dict[str, Any], data: TextDataModule, checkpoint: str, goes_on: bool) -> None:
    """Raise where a checkpoint was trained on other tokens, or would go on with other rows than it began with."""
    file, files = "tokenizer.json", read_tokenizer_files(data.text.folder / "tokenizer")
    before = (saved.get("tokenizer", files)[file], saved["vocabulary"])
    if before != (files[file], data.vocabulary.to_dict()):  # the other files tell where it was loaded from, too
        raise InputError(
            f"expected the tokenizer that {checkpoint} was trained with, found another one: give the corpus, "
            "data.tokenizer and data.split_seed of its run, or the folder of its tokenizer as data.tokenizer"
        )
    if not goes_on:
        return
    now = data.identity()
    other = [name for name, value in saved.get("rows", now).items() if now.get(name) != value]
    if other:
        raise InputError(
            f"expected the {other[0]} of the run that goes on, {saved['rows'][other[0]]}, found {now.get(other[0])}: "
            "with another one rows would be read twice or never"
        )


def _check_monitors(module: Pretraining, trainer: L.Trainer) -> None:
    """Raise where a callback waits for a held-out metric that no objective has, which else shows hours later."""
    metrics: Any = module.metrics
    known = {f"val/{name}/{metric}" for name in module.names for metric in (*metrics[name], "loss")}
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        monitor = getattr(callback, "monitor", None) or ""
        if monitor.startswith("val/") and monitor not in known:
            raise InputError(
                f"expected {type(callback).__name__} to monitor a metric of an objective, found {monitor}: there are "
                f"{', '.join(sorted(known))}"
            )


_PLUGIN = re.compile(r"model\.(?:objectives\.\w+|balancer|optimizer)(?:\.class_path)?")


_IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")


def check_user_classes(arguments: Sequence[str]) -> None:
    """Import each class that a command line or its config files name by an import path, as the parser will.

    Args:
        arguments: the command line after the command, whose config files can be read.

    Raises:
        ValueError: where there is no such module or class, the module cannot be imported, or the class is of another
            kind.
    """
    for key, path in _named(arguments):
        if _IMPORT_PATH.fullmatch(path):
            found = _imported(path)
            base = Objective if "objectives" in key else Balancer if "balancer" in key else object
            if isinstance(found, type) and not issubclass(found, base):
                raise InputError(
                    f"expected {base.__name__} or a class that inherits from it in {key}, found {path}, which does "
                    "not: name another class"
                )


def _named(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Settings that take a plug-in, and the class that each is given."""
    for index, argument in enumerate(arguments):
        name, value = named_value(argument, arguments[index + 1 : index + 2])
        if value and name.startswith("--") and _PLUGIN.fullmatch(name[2:]):
            yield name[2:], value
    for file in config_paths(arguments):
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        model = content.get("model") if isinstance(content, dict) else None
        for key, value in _flat(model if isinstance(model, dict) else {}, "model"):
            if _PLUGIN.fullmatch(key):
                yield key, value


def _flat(content: dict[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in content.items():
        key = f"{prefix}.{name}"
        if isinstance(value, dict):
            yield from _flat(value, key)
        elif isinstance(value, str):
            yield key, value


def _imported(path: str) -> Any:
    """What stands at an import path."""
    name, _, kind = path.rpartition(".")
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            raise InputError(
                f"expected a module {name} for {path}, found none: check the spelling, and that you are in its folder"
            ) from error
        raise InputError(
            f"expected {name} to be importable, found that it imports {error.name}, which there is not: install it"
        ) from error
    except Exception as error:  # whatever a user's file raises is the user's to mend
        raise InputError(
            f"expected {name} to be importable, found {type(error).__name__} in {_place(error)}: {error}"
        ) from error
    if not hasattr(module, kind):
        near = get_close_matches(kind, [other for other, value in vars(module).items() if isinstance(value, type)], 1)
        hint = f"did you mean {near[0]}?" if near else "check the spelling"
        raise InputError(f"expected a class {kind} in {name}, found none: {hint}")
    return getattr(module, kind)


def _place(error: Exception) -> str:
    """File and line of the mistake."""
    if isinstance(error, SyntaxError):
        return f"{Path(error.filename or '?').name}, line {error.lineno}"
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(last.filename).name}, line {last.lineno}"
