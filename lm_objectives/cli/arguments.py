"""A class that takes another's place begins with its own arguments, whatever was set for the other one."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

_CONFIG = ("--config", "-c")


_CHANGED = ("model.optimizer", "model.balancer")


def reset_changed_plugins(arguments: Sequence[str]) -> list[str]:
    """A command line in which each optimizer and balancer is dropped before one of another class is named.

    The parser keeps what both classes have an argument for, so that a rate meant for Muon would be AdamW's:

        --config muon.yaml --model.optimizer AdamW
        --config muon.yaml --model.optimizer null --model.optimizer AdamW

    Args:
        arguments: the command line after the command, whose config files can be read.
    """
    before: dict[str, str] = {}
    made: list[str] = []
    for index, argument in enumerate(arguments):
        for key, name in _classes(argument, arguments[index + 1 : index + 2]):
            if before.setdefault(key, name) != name:
                made += [f"--{key}", "null"]
            before[key] = name
        made.append(argument)
    return made


def config_paths(arguments: Sequence[str]) -> Iterator[Path]:
    """The config files that a command line names."""
    for index, argument in enumerate(arguments):
        if value := _value(_CONFIG, argument, arguments[index + 1 : index + 2]):
            yield Path(value)


def _value(names: Sequence[str], argument: str, rest: Sequence[str]) -> str | None:
    """What an argument of some name gives, itself or by the one behind it."""
    name, value = named_value(argument, rest)
    return value if name in names else None


def named_value(argument: str, rest: Sequence[str]) -> tuple[str, str | None]:
    """An argument's name, and the value that it has itself or by the one behind it."""
    name, equals, value = argument.partition("=")
    return name, value if equals else next(iter(rest), None)


def _classes(argument: str, rest: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The settings that an argument names a class for, and the class without its path."""
    path = _value(_CONFIG, argument, rest)
    content = yaml.safe_load(Path(path).read_text(encoding="utf-8")) if path else None
    for key in _CHANGED:
        given: Any = content
        for part in key.split("."):
            given = given.get(part) if isinstance(given, dict) else None
        if value := _value((f"--{key}", f"--{key}.class_path"), argument, rest):
            with suppress(yaml.YAMLError):  # the parser will say so
                given = yaml.safe_load(value)
        name = given.get("class_path") if isinstance(given, dict) else given
        if isinstance(name, str):
            yield key, name.rpartition(".")[2]
