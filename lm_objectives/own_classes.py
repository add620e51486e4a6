"""A user's own objectives, balancers and optimizers: what keeps one from being imported, in one line."""

import re
import traceback
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from lm_objectives.balancers import Balancer
from lm_objectives.changed_classes import config_paths, named_value
from lm_objectives.objectives import Objective

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
                raise ValueError(
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
            raise ValueError(
                f"expected a module {name} for {path}, found none: check the spelling, and that you are in its folder"
            ) from error
        raise ValueError(
            f"expected {name} to be importable, found that it imports {error.name}, which there is not: install it"
        ) from error
    except Exception as error:  # whatever a user's file raises is the user's to mend
        raise ValueError(
            f"expected {name} to be importable, found {type(error).__name__} in {_place(error)}: {error}"
        ) from error
    if not hasattr(module, kind):
        near = get_close_matches(kind, [other for other, value in vars(module).items() if isinstance(value, type)], 1)
        hint = f"did you mean {near[0]}?" if near else "check the spelling"
        raise ValueError(f"expected a class {kind} in {name}, found none: {hint}")
    return getattr(module, kind)


def _place(error: Exception) -> str:
    """File and line of the mistake."""
    if isinstance(error, SyntaxError):
        return f"{Path(error.filename or '?').name}, line {error.lineno}"
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(last.filename).name}, line {last.lineno}"
