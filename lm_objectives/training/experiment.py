"""The settings that make a run's experiment, and how they differ from those that a checkpoint was trained with."""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from typing import Any

import lightning.pytorch as L
from torch.optim import Optimizer

from lm_objectives.data.datamodule import TextDataModule
from lm_objectives.data.tokenizer import TOKENIZER_FILES, same_tokens
from lm_objectives.data.trainer import training_steps
from lm_objectives.errors import InputError
from lm_objectives.optim.factory import optimizer_path
from lm_objectives.plugin import Plugin, all_arguments, class_path, to_config
from lm_objectives.schedules import value_at
from lm_objectives.training.checkpoint import SavedState
from lm_objectives.views import Vocabulary

Experiment = dict[str, Any]
"""Plain values by the dotted names of their settings."""

_NO_PART_OF_A_MODEL = {  # fields of every configuration of transformers
    "architectures", "chunk_size_feed_forward", "dtype", "id2label", "label2id", "output_attentions",
    "output_hidden_states", "problem_type", "return_dict", "transformers_version", "use_cache", "_name_or_path",
}  # fmt: skip

_BACKBONE = "model.backbone."
_STEPS, _IN_PARTS = "trainer.max_steps", "settings in parts of trainer.max_steps"
_DERIVED = "windows of "  # follow from other settings, and are named where these are the same
_CARRIED_OUT = {"foreach", "fused", "capturable", "differentiable"}  # settings of how an optimizer steps
_MOST, _LONGEST = 8, 60  # differences in a line, characters of a value


def describe_experiment(module: Any, trainer: L.Trainer, data: TextDataModule, optimizer: Optimizer) -> Experiment:
    """Describe all that makes the experiment, with defaults filled in.

    Left out is what may change while a run goes on: devices, accumulation, workers, callbacks, loggers, and where
    corpus and cache lie.

    Args:
        module: a `Pretraining` module that is built.
        trainer: its trainer.
        data: its data, opened.
        optimizer: as `configure_optimizers` made it.
    """
    algorithm = trainer.gradient_clip_algorithm or "norm"
    experiment = {
        **describe_backbone(module.backbone.architecture()),
        **{f"model.objectives.{name}": objective for name, objective in module.objectives.items()},
        "model.balancer": module.balancer,
        **{f"model.lr_schedule.{name}": value for name, value in asdict(module.lr_schedule).items()},
        **_describe_optimizer(optimizer),
        **_describe_data(data),
        "trainer.precision": trainer.precision,
        "trainer.gradient_clip_val": trainer.gradient_clip_val or None,
        "trainer.gradient_clip_algorithm": str(getattr(algorithm, "value", algorithm)),
        "trainer.overfit_batches": trainer.overfit_batches,  # type: ignore[attr-defined]
        _STEPS: training_steps(trainer, data.steps_per_epoch),
        "seed_everything": module.seed,
        _IN_PARTS: list(_in_parts(module, data)),
        **{f"windows of {name}": len(windows) for name, windows in data.training_rows().windows.items()},
    }
    return {key: plain for name, value in experiment.items() for key, plain in _flatten(name, value)}


def describe_backbone(architecture: Mapping[str, Any]) -> Experiment:
    """The part of an experiment that is the backbone's, from its `architecture`."""
    config = architecture["config"].items()
    kept = {f"{_BACKBONE}config.{name}": value for name, value in config if name not in _NO_PART_OF_A_MODEL}
    kind = kept.pop(f"{_BACKBONE}config.model_type")
    return {f"{_BACKBONE}model_type": kind, f"{_BACKBONE}tied": architecture["tied"], **kept}


def settings_in_parts(experiment: Experiment) -> list[str]:
    """Names of settings that go by parts of the training's length, which then cannot change while a run goes on."""
    return list(experiment.get(_IN_PARTS, []))


def differences(now: Experiment, saved: Experiment) -> list[str]:
    """What is no more as it was, "name value, was value" each.

    Of a plug-in of another class only the class is named. `trainer.max_steps` may change where nothing is in parts of
    it.

    >>> now, saved = ({"model.optimizer": "torch.optim.SGD", "model.optimizer.lr": rate} for rate in (0.1, 0.01))
    >>> differences(now, saved)
    ['model.optimizer.lr 0.1, was 0.01']
    """
    found: dict[str, str] = {}
    for name in [*now, *(name for name in saved if name not in now)]:
        if name == _IN_PARTS or _agree(name, now, saved) or _one_may_lack(name, now, saved):
            continue
        if any(name.startswith(f"{other}.") for other in found):
            continue
        if name != _STEPS:
            found[name] = f"{name} {_show(now, name)}, was {_show(saved, name)}"
        elif parts := settings_in_parts(saved):
            found[name] = f"{name} {now[name]}, was {saved[name]} (in parts of it: {', '.join(parts)})"
    settings = [text for name, text in found.items() if not name.startswith(_DERIVED)]
    return settings or list(found.values())


def check_experiment(now: Experiment, saved: Experiment, beginning: str) -> None:
    """Raise where a run would go on as another experiment than its checkpoint's.

    Args:
        now: the experiment that is about to go on.
        saved: the checkpoint's.
        beginning: how a new run begins with the checkpoint's weights, for the message.
    """
    if found := differences(now, saved):
        raise InputError(
            f"expected the settings of the run that goes on, found {_list(found)}: give the run's own, as in its "
            f"config.yaml, or begin a new run from these weights: {beginning}"
        )


def check_backbone(now: Mapping[str, Any], saved: Mapping[str, Any]) -> None:
    """Raise where two architectures are not of one model; the shapes of weights show little of it."""
    if found := differences(describe_backbone(now), describe_backbone(saved)):
        raise InputError(
            f"expected a checkpoint of this model, found one of another: {_list(found)}; give the configuration that "
            "the checkpoint was trained with"
        )


def check_tokenizer(saved: SavedState, files: Mapping[str, str] | None, vocabulary: Vocabulary, path: object) -> None:
    """Raise where a checkpoint was trained on other tokens.

    Args:
        saved: what the checkpoint holds.
        files: of the tokenizer at hand.
        vocabulary: its ids.
        path: the checkpoint's file, for the message.
    """
    if not same_tokens(saved.tokenizer, files) or saved.vocabulary != vocabulary:
        raise InputError(
            f"expected the tokenizer that {path} was trained with, found another one: give the corpus, data.tokenizer "
            "and data.split_seed of its run, or the folder of its tokenizer as data.tokenizer"
        )


def _describe_optimizer(optimizer: Optimizer) -> Experiment:
    """An optimizer's class and settings, and those in which a group of parameters differs from the others."""
    described: Experiment = {"model.optimizer": optimizer_path(type(optimizer))}
    defaults = {name: value for name, value in optimizer.defaults.items() if name not in _CARRIED_OUT}
    described |= {f"model.optimizer.{name}": value for name, value in defaults.items()}
    for number, group in enumerate(optimizer.param_groups):
        given = {**group, "lr": group.get("initial_lr", group["lr"])}  # the schedule moves the other
        role = f"{given.pop('role', number)}{' transposed' if given.pop('transposed', False) else ''}"
        for name in given.keys() - {"params", "initial_lr", *_CARRIED_OUT}:
            if name not in defaults or given[name] != defaults[name]:
                described[f"model.optimizer.{role}.{name}"] = given[name]
    return described


def _describe_data(data: TextDataModule) -> Experiment:
    """What rows depend on besides the objectives, and what they are measured on."""
    tokenizer = data.text.tokenizer_files[TOKENIZER_FILES[0]].encode()
    return {
        "data.corpus": data.text.identity,
        "data.tokenizer": sha256(tokenizer).hexdigest()[:16],
        "data.add_tokens": data.add_tokens or None,
        "data.language": data.language,
        "data.sentences": data.sentences,
        "data.validation_share": data.validation_share,
        "data.validation_rows": data.validation_rows,
        "data.split_seed": data.split_seed,
        "data.seed": data.seed,
        "data.seq_len": data.seq_len_schedule,
        "data.packing": data.settings.packing,
        "data.corpus_weights": data.corpus_weights,
        "data.corpus_temperature": data.corpus_temperature,
        "data.corpus_cap": data.corpus_cap,
        "data.global_batch_size": data.global_batch_size,
        "data.batch_multiple": data.plan.batch_multiple,
    }


def _in_parts(module: Any, data: TextDataModule) -> Iterator[str]:
    """Names of settings that are in parts of the training's length: they refuse a training without an end."""
    balancer = copy.deepcopy(module.balancer).cpu()
    tried: dict[str, Callable[[], Any]] = {
        "model.lr_schedule": partial(module.lr_schedule.factor, 0, -1),
        "model.balancer": partial(balancer.setup, module.names, balancer.initial_losses, -1),
    }
    if isinstance(data.seq_len_schedule, list):
        tried["data.seq_len"] = partial(value_at, data.seq_len_schedule, 0, -1, "data.seq_len", "step")
    for name, source in module.sources.items():
        tried[f"model.objectives.{name}.share"] = partial(value_at, source.share, 0, -1, "share")
        tried[f"model.objectives.{name}"] = partial(source.corruption.at_step, 0, -1)
    for name, ask in tried.items():
        try:
            ask()
        except Exception:  # whatever a user's own class raises
            yield name


def _flatten(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A plug-in's class, and its arguments by dotted names; anything else as plain data."""
    if not isinstance(value, Plugin):
        yield name, to_config(value)
        return
    yield name, class_path(type(value))
    for argument, given in all_arguments(value).items():
        yield from _flatten(f"{name}.{argument}", given)


def _agree(name: str, now: Experiment, saved: Experiment) -> bool:
    """Whether both have a setting, of one value; as text, since NaN is not itself."""
    return name in now and name in saved and repr(now[name]) == repr(saved[name])


def _one_may_lack(name: str, now: Experiment, saved: Experiment) -> bool:
    """Whether a setting that only one of the two has is one that another version of its class does not know."""
    if name in now and name in saved:
        return False
    return name.startswith(f"{_BACKBONE}config.") or {**now, **saved}[name] in (None, False)


def _show(experiment: Experiment, name: str) -> str:
    text = str(experiment.get(name, "nothing"))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _list(found: list[str]) -> str:
    more = [f"{len(found) - _MOST} more"] if len(found) > _MOST else []
    return "; ".join([*found[:_MOST], *more])
