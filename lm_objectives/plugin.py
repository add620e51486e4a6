"""A plug-in as plain data: its class path and its arguments.

Checkpoints hold this instead of pickled objects, so that they load with `weights_only=True`.
"""

import functools
import importlib
import inspect
import re
from dataclasses import fields, is_dataclass
from typing import Any

import lm_objectives


class Plugin:
    """Remembers the arguments it was made with, so that `to_config` can write it down as plain data.

    Those of a dataclass are its fields.
    """

    _arguments: dict[str, Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" not in cls.__dict__:
            return
        original = cls.__init__

        @functools.wraps(original)
        def remember(self: Plugin, *args: Any, **kwargs: Any) -> None:
            if "_arguments" not in self.__dict__:  # the most derived class speaks first, and for all
                bound = inspect.signature(original).bind(self, *args, **kwargs)
                arguments = dict(list(bound.arguments.items())[1:])
                for parameter in inspect.signature(original).parameters.values():
                    if parameter.kind is parameter.VAR_KEYWORD:
                        arguments |= arguments.pop(parameter.name, {})
                object.__setattr__(self, "_arguments", arguments)
            original(self, *args, **kwargs)

        cls.__init__ = remember  # type: ignore[assignment, method-assign]


def to_config(value: Any) -> Any:
    """Plain data from which `from_config` makes an equal plug-in: `{"class_path": …, "init_args": …}`.

    >>> from lm_objectives import CausalLM
    >>> to_config(CausalLM(share=2.0))
    {'class_path': 'lm_objectives.CausalLM', 'init_args': {'share': 2.0}}
    """
    if isinstance(value, Plugin):
        return {"class_path": class_path(type(value)), "init_args": to_config(_given(value))}
    if isinstance(value, dict):
        return {str(key): to_config(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_config(item) for item in value]
    if getattr(value, "ndim", None) == 0:  # a number of numpy or torch, which would be pickled
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))  # which another process has elsewhere


def class_path(kind: type) -> str:
    """The import path of a class, by which `find_class` finds it."""
    public = getattr(lm_objectives, kind.__name__, None) is kind
    return f"lm_objectives.{kind.__name__}" if public else f"{kind.__module__}.{kind.__qualname__}"


def all_arguments(plugin: Plugin) -> dict[str, Any]:
    """The arguments that a plug-in was made with, and the defaults of those that were left out."""
    defaults: dict[str, Any] = {}
    for kind in type(plugin).__mro__:
        if "__init__" in vars(kind):
            parameters = inspect.signature(kind).parameters.values()
            found = {p.name: p.default for p in parameters if p.default is not p.empty}
            defaults = found | defaults
            if not any(p.kind is p.VAR_KEYWORD for p in parameters):  # hands nothing on to the next class
                break
    return defaults | _given(plugin)


def _given(plugin: Plugin) -> dict[str, Any]:
    if is_dataclass(plugin):
        return {field.name: getattr(plugin, field.name) for field in fields(plugin) if field.init}
    return dict(plugin.__dict__.get("_arguments", {}))


def find_class(path: str, kind: type) -> Any:
    """The class of a class path.

    Raises:
        TypeError: when it names anything but a subclass of `kind`, which a tampered checkpoint might.
    """
    module, _, name = path.rpartition(".")
    found = getattr(importlib.import_module(module), name, None) if module else None
    if not (isinstance(found, type) and issubclass(found, kind)):
        what = "an objective or a balancer" if kind is Plugin else f"a subclass of {kind.__name__}"
        raise TypeError(f"expected the class path of {what}, found {path}")
    return found


def from_config(description: Any) -> Any:
    """The plug-in that `to_config` wrote down.

    Raises:
        TypeError: when the class path names anything but a plug-in, which a tampered checkpoint might.
    """
    if isinstance(description, dict) and set(description) == {"class_path", "init_args"}:
        return find_class(description["class_path"], Plugin)(**from_config(description["init_args"]))
    if isinstance(description, dict):
        return {key: from_config(item) for key, item in description.items()}
    if isinstance(description, list):
        return [from_config(item) for item in description]
    return description
