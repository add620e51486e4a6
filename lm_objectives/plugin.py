"""A plug-in as plain data: its class path and its arguments.

Checkpoints hold this instead of pickled objects, so that they load with `weights_only=True`.
"""

import functools
import importlib
import inspect
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
        kind, arguments = type(value), value.__dict__.get("_arguments", {})
        if is_dataclass(value):
            arguments = {field.name: getattr(value, field.name) for field in fields(value) if field.init}
        public = getattr(lm_objectives, kind.__name__, None) is kind
        path = f"lm_objectives.{kind.__name__}" if public else f"{kind.__module__}.{kind.__qualname__}"
        return {"class_path": path, "init_args": to_config(arguments)}
    if isinstance(value, dict):
        return {str(key): to_config(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_config(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def from_config(description: Any) -> Any:
    """The plug-in that `to_config` wrote down.

    Raises:
        TypeError: when the class path names anything but a plug-in, which a tampered checkpoint might.
    """
    if isinstance(description, dict) and set(description) == {"class_path", "init_args"}:
        module, _, name = description["class_path"].rpartition(".")
        kind = getattr(importlib.import_module(module), name, None) if module else None
        if not (isinstance(kind, type) and issubclass(kind, Plugin)):
            raise TypeError(f"expected the class path of an objective or a balancer, found {description['class_path']}")
        return kind(**from_config(description["init_args"]))
    if isinstance(description, dict):
        return {key: from_config(item) for key, item in description.items()}
    if isinstance(description, list):
        return [from_config(item) for item in description]
    return description
