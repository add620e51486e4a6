"""The settings of an arm: the base, what the arm lays over it, and its ratio."""

import copy
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

import yaml

from lm_objectives.comparison.study import Arm, Settings, Study
from lm_objectives.errors import expect

_FIXED = "lm_objectives.Fixed"
_ENDS_EARLY = ("ModelCheckpoint", "EarlyStopping", "OnExceptionCheckpoint", "Timer")


def arguments_of(study: Study, arm: Arm, tuned: Mapping[str, Any]) -> list[str]:
    """The arguments of `fit` for an arm, but for its ratio.

    Args:
        study: with the base.
        arm: what is laid over it.
        tuned: settings by their dotted names, laid over both.
    """
    made: list[str] = []
    for config in [*study.base, *arm.config]:
        made += ["--config", config]
    for name, value in {**arm.set, **tuned}.items():
        text = yaml.safe_dump(value, default_flow_style=True, width=1 << 30).removesuffix("...\n").strip()
        made.append(f"--{name}={text}")
    return made


def with_ratio(settings: Settings, ratio: Mapping[str, float] | None) -> Settings:
    """Settings in which objectives have the rows, and under `Fixed` the weights, of a ratio.

    Under `Fixed` the other objectives stay with a weight of 0, so that they read no rows and are not trained: what
    predicts by the backbone's own head can be read all the same. Under another balancer they are left out.

    Args:
        settings: with all objectives of the base.
        ratio: parts of the rows by objective. `None` leaves settings as they are.

    Raises:
        InputError: for an unknown objective, and one without rows of its own.
    """
    if ratio is None:
        return settings
    settings = copy.deepcopy(settings)
    objectives: dict[str, Any] = settings["model"]["objectives"]
    for name, part in ratio.items():
        near = get_close_matches(name, objectives, 1)
        mend = f"did you mean {near[0]}?" if near else f"the base has {', '.join(objectives)}"
        expect(name in objectives, "objectives of the base in its ratio", repr(name), mend)
        owner = objectives[name]["init_args"].get("shares_rows_with")
        expected = "objectives with rows of their own in its ratio"
        expect(not owner, expected, f"{name}, which shares those of {owner}", "set shares_rows_with to null")
        objectives[name]["init_args"]["share"] = part
    if not is_fixed(settings):
        return without_objectives(settings, objectives.keys() - ratio.keys())
    whole = sum(ratio.values())
    weights = {name: ratio.get(name, 0.0) / whole for name in objectives}
    settings["model"]["balancer"] = {"class_path": _FIXED, "init_args": {"weights": weights}}
    return settings


def is_fixed(settings: Settings) -> bool:
    """Whether the weights are `Fixed`."""
    balancer = settings["model"].get("balancer")
    return balancer is None or balancer["class_path"] == _FIXED


def without_objectives(settings: Settings, names: Collection[str]) -> Settings:
    """Settings without some objectives, and without what `Fixed` says of them."""
    settings = copy.deepcopy(settings)
    model = settings["model"]
    model["objectives"] = {name: value for name, value in model["objectives"].items() if name not in names}
    if is_fixed(settings) and model.get("balancer") and model["balancer"]["init_args"].get("weights"):
        weights = model["balancer"]["init_args"]["weights"]
        model["balancer"]["init_args"]["weights"] = {n: value for n, value in weights.items() if n not in names}
    return settings


def without_selection(settings: Settings) -> tuple[Settings, list[str]]:
    """Settings without callbacks that end a training early or keep another checkpoint than the last.

    Returns:
        The settings, and the names of what they lost: an arm must not have a selection that others lack.
    """
    settings = copy.deepcopy(settings)
    callbacks = settings["trainer"].get("callbacks") or []
    callbacks = callbacks if isinstance(callbacks, list) else [callbacks]
    names = [callback["class_path"].rpartition(".")[2] for callback in callbacks]
    kept = [callback for callback, name in zip(callbacks, names, strict=True) if name not in _ENDS_EARLY]
    settings["trainer"]["callbacks"] = kept
    lost = [
        name
        for callback, name in zip(callbacks, names, strict=True)
        if name in _ENDS_EARLY and (name != "ModelCheckpoint" or callback["init_args"].get("monitor"))
    ]
    return settings, lost


def settings_of_run(
    settings: Settings, *, steps: int, seed: int, split_seed: int, folder: str, evaluation: Settings, tracking: Settings
) -> Settings:
    """All settings of one run of an arm.

    Args:
        settings: of the arm, without selection.
        steps: optimizer steps.
        seed: of weights and rows.
        split_seed: of the split, the tokenizer and the held-out rows.
        folder: of the run.
        evaluation: what it is evaluated on.
        tracking: how it is logged.
    """
    made = copy.deepcopy(settings)
    trainer = made["trainer"]
    every = max(steps // 10, 1)
    checkpoint = {"every_n_train_steps": every, "save_top_k": 0, "save_last": True, "enable_version_counter": False}
    trainer |= {"max_steps": steps, "max_epochs": None, "max_time": None, "default_root_dir": folder}
    trainer["callbacks"] = [
        *trainer["callbacks"],
        {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": checkpoint},
    ]
    made["data"] |= {"seed": seed, "split_seed": split_seed}
    made |= {"seed_everything": seed, "evaluation": evaluation, "tracking": tracking}
    return made
