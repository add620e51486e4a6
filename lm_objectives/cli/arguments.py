"""The settings of a command line, read before its parser reads them, and that parser."""

import json
import os
import re
from collections.abc import Container, Iterable, Iterator, Sequence
from enum import Enum
from inspect import signature
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import yaml
from jsonargparse import ArgumentError, Namespace
from lightning.pytorch.cli import LightningArgumentParser
from torch.optim import Optimizer

from lm_objectives.cli.messages import nearest, with_hint
from lm_objectives.errors import InputError, expect
from lm_objectives.strict_yaml import load_yaml

# Lightning's `Timer` has one by default, and config.yaml could not be written.
yaml.SafeDumper.add_multi_representer(Enum, lambda dumper, member: dumper.represent_data(member.value))

_OFTEN = """
settings that are given most often:
  --config NAME_OR_FILE                       one or several; `lm-objectives configs` lists the shipped ones
  --data.corpus PATH                          your text; --data.tokenizer, --data.seq_len, --data.global_batch_size
  --model.objectives.NAME CLASS               CausalLM, MaskedLM, …, and its arguments: --model.objectives.NAME.share 2
  --model.balancer CLASS                      GradNorm, Uncertainty, …: --model.balancer.help GradNorm explains one
  --model.optimizer CLASS                     --model.optimizer.lr, --model.lr_schedule.kind
  --model.backbone.model_type TYPE            --model.backbone.config.hidden_size, …
  --trainer.max_steps N                       --trainer.devices, --trainer.precision, --trainer.default_root_dir
  --ckpt_path last                            go on from the run's last checkpoint
  --weights PATH                              begin a new run with the weights of a checkpoint
  --print_config                              write all settings as YAML

All settings follow, by group: options, model, backbone, lr_schedule, data, tracking, and last Lightning's Trainer.
"""


_HOME = re.compile(r"~[\w.-]*(/|$)")
_NO_PATHS = ("documents", "text_field")  # settings in which a `~` is text


class Parser(LightningArgumentParser):
    """A parser that raises its errors, with a hint for an unknown setting; also those of the classes within."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if isinstance(ex, ArgumentError):  # of a parser within this one
            raise ex
        if ex is None or isinstance(ex, KeyError):  # an unknown setting
            message = with_hint(message, self.keys())
        raise ArgumentError(None, message) from ex

    def format_help(self, *arguments: Any, **options: Any) -> str:
        # The trainer's settings last: they are the most, and Lightning's own.
        self._action_groups = sorted(self._action_groups, key=lambda group: "Trainer" in f"{group.title}")
        text = super().format_help(*arguments, **options)
        trains = "--model.balancer" in text and "--trainer.max_steps" in text
        return text.replace("\n\n", f"\n{_OFTEN}\n", 1) if trains else text  # behind the usage

    def add_class_arguments(self, theclass: type, *arguments: Any, **options: Any) -> list[str]:
        if issubclass(theclass, Optimizer):  # its parameters are not the user's to give, as the parser knows elsewhere
            options["skip"] = {*options.get("skip", ()), next(iter(signature(theclass).parameters))}
        return super().add_class_arguments(theclass, *arguments, **options)

    def keys(self) -> list[str]:
        """All settings, dotted."""
        return [action.dest for action in self._actions if not action.dest.endswith((".help", "_help"))]


class Setting(NamedTuple):
    """One setting of a command line.

    Attributes:
        position: where the argument that gives it stands.
        file: the config file that it stands in, if any.
        key: its dotted name.
        value: its value, which is no mapping but an empty one.
    """

    position: int
    file: Path | None
    key: str
    value: Any


def read_settings(arguments: Sequence[str]) -> Iterator[Setting]:
    """All settings of a command line and its config files, in their order.

    Args:
        arguments: the command line after the command.

    Raises:
        InputError: for a config file that is missing or broken.
    """
    for index, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if not equals:
            value = next(iter(arguments[index + 1 : index + 2]), "")
        if name in ("--config", "-c"):
            for key, given in _flatten(read_argument(name, value)):
                yield Setting(index, Path(value), key, given)
        elif name.startswith("--"):
            for key, given in _flatten({name[2:].rstrip("+"): read_argument(name, value)}):
                yield Setting(index, None, key, given)


def read_argument(name: str, value: str) -> Any:
    """What an argument of a command line says: the settings of a config file, or the value of one setting.

    Raises:
        InputError: for a config file that is missing or broken, and a value with a key that stands twice.
    """
    if name in ("--config", "-c"):
        return _read_config(Path(value), name)
    try:
        return load_yaml(value, name)
    except yaml.YAMLError:  # text, or what the parser will say is none
        return value


def _read_config(path: Path, name: str) -> dict[str, Any]:
    path = path.expanduser()
    expect(os.path.isfile(path), f"a config file at {path}", "none", f"check the path of {name}")
    try:
        content = load_yaml(path.read_bytes(), str(path))
    except yaml.YAMLError as error:
        raise InputError(f"expected YAML in {path}, found a mistake: {error}") from error
    mend = "write `key: value` lines"
    expect(content is None or isinstance(content, dict), f"settings in {path}", type(content).__name__, mend)
    return content or {}


def _flatten(content: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if isinstance(value, dict) and value:
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def expand_home(value: Any) -> Any:
    """Settings in which each text that begins with `~/` or `~name/` is a path of a home folder.

    >>> expand_home({"trainer": {"default_root_dir": "~/runs"}})["trainer"]["default_root_dir"].startswith("~")
    False
    """
    if isinstance(value, Namespace):
        parts = vars(value).items()
        return Namespace(**{name: part if name in _NO_PATHS else expand_home(part) for name, part in parts})
    if isinstance(value, dict):
        return {name: expand_home(part) for name, part in value.items()}
    if isinstance(value, list):
        return [expand_home(part) for part in value]
    return os.path.expanduser(value) if isinstance(value, str) and _HOME.match(value) else value


def check_known(settings: Iterable[Setting], known: Iterable[str]) -> None:
    """Raise an `InputError` for a setting that there is none of, and for a block of settings that holds none.

    Settings of a class are left to the parser.

    Args:
        settings: the settings of a command line.
        known: all settings there are, dotted.
    """
    known = list(known)
    groups = {path for name in known for path in _paths(name)[:-1]}
    classes = set(known) - groups
    for setting in settings:
        if setting.key not in groups and classes.isdisjoint(_paths(setting.key)):
            place = f" in {setting.file}" if setting.file else ""
            raise InputError(f"expected known settings{place}, found {setting.key}: {nearest(setting.key, known)}")
        if setting.key in groups or setting.key == "model.objectives":
            if isinstance(setting.value, str):  # a file of its own
                _read_config(Path(setting.value), setting.key)
            found = "null" if setting.value is None else setting.value
            mend = f"write settings below {setting.key}, or leave it out"
            place = f" in {setting.file}" if setting.file else ""
            expect(isinstance(setting.value, (dict, str)), f"settings below {setting.key}{place}", found, mend)


def _paths(key: str) -> list[str]:
    """`a`, `a.b` and `a.b.c` of `a.b.c`."""
    return list(accumulate(key.split("."), "{}.{}".format))


def reset_changed_plugins(arguments: Sequence[str], settings: Iterable[Setting]) -> list[str]:
    """Drop the arguments of an optimizer or balancer where a command line changes its class.

    The parser keeps what both classes have an argument for, so that a rate meant for Muon would be AdamW's:

        --config muon.yaml --model.optimizer AdamW
        --config muon.yaml --model.optimizer null --model.optimizer AdamW

    Args:
        arguments: the command line after the command.
        settings: all settings in it.
    """
    classes: dict[str, str] = {}
    changed: list[Setting] = []
    for setting in settings:
        plugin = setting.key.removesuffix(".class_path")
        if plugin in ("model.optimizer", "model.balancer") and isinstance(setting.value, str):
            name = setting.value.rpartition(".")[2]
            if classes.setdefault(plugin, name) != name:
                changed.append(setting._replace(key=plugin))
            classes[plugin] = name
    made = list(arguments)
    for setting in reversed(changed):
        made[setting.position : setting.position] = [f"--{setting.key}", "null"]
    return made


def join_lists(arguments: Sequence[str], names: Container[str]) -> list[str]:
    """A command line in which the values after the flag of a list are one value, as the parser wants them.

    >>> join_lists(["--tasks", "held_out", "swaps", "--seed", "1"], ["tasks"])
    ['--tasks', '["held_out", "swaps"]', '--seed', '1']
    """
    made: list[str] = []
    values: list[str] | None = None
    for argument in [*arguments, "--"]:
        if values is not None and not argument.startswith("-"):
            values.append(argument)
            continue
        if values is not None:
            made += values if len(values) == 1 and values[0].startswith("[") else [json.dumps(values)]
        flag, equals, value = argument.removeprefix("--").partition("=")
        values = [value] if flag in names and equals else [] if flag in names else None
        made.append(f"--{flag}" if values else argument)
    return made[:-1]
