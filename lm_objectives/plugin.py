"""A plug-in as plain data: its class path and its arguments.

Checkpoints hold this instead of pickled objects, so that they load with `weights_only=True`.
"""

import functools
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
from torch import Tensor

import lm_objectives
from lm_objectives.errors import InputError, expect, one_line

_MEND = "give a checkpoint as it was written, with classes from modules, not from a script"


def plain(value: Any) -> Any:
    """A setting as plain data: numbers of numpy and torch as Python's own, arrays and tensors as lists, paths as text.

    Dicts, lists, tuples and the arguments of a `functools.partial` are searched; any other object stays as it is.

    >>> from pathlib import Path
    >>> import numpy as np
    >>> plain({"share": np.array([[0.0, 0.5]]), "size": np.int64(3), "folder": Path("texts")})
    {'share': [[0.0, 0.5]], 'size': 3, 'folder': 'texts'}
    """
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = list(map(plain, value))
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items) if isinstance(value, tuple) else items
    if isinstance(value, functools.partial):
        made = type(value)(value.func, *plain(value.args), **plain(value.keywords))
        vars(made).update(vars(value))
        return made
    if isinstance(value, (np.ndarray, Tensor)):
        return plain(value.tolist())
    if isinstance(value, np.floating):
        return float(value)  # also of the precision that `item` leaves alone
    if isinstance(value, np.generic):
        return value.item()
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def plain_fields(instance: Any) -> None:
    """Make the fields of a dataclass `plain`, a frozen one's too, but for those that its comparison leaves out."""
    for field in fields(instance):
        if field.init and field.compare:
            object.__setattr__(instance, field.name, plain(getattr(instance, field.name)))


def takes_plain(method: Callable[..., None]) -> Callable[..., None]:
    """A method that is given `plain` arguments, whatever it is called with."""

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> None:
        method(self, *plain(args), **plain(kwargs))

    return call


class Plugin:
    """Remembers the arguments it was made with, so that `to_config` can write it down as plain data.

    Those of a dataclass are its fields. Either are made `plain` before the class sees them, so that it is made of the
    same from Python, from YAML and from a checkpoint.
    """

    _arguments: dict[str, Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__post_init__" in cls.__dict__:
            cls.__post_init__ = _after_plain_fields(cls.__post_init__)  # type: ignore[method-assign]
        if "__init__" not in cls.__dict__:
            return
        original = cls.__init__

        @functools.wraps(original)
        def remember(self: Plugin, *args: Any, **kwargs: Any) -> None:
            args, kwargs = plain(args), plain(kwargs)
            for name, value in inspect.signature(original).bind(self, *args, **kwargs).arguments.items():
                parameter = inspect.signature(original).parameters[name]
                _check_number(type(self), name, value, parameter.default, parameter.annotation)
            if "_arguments" not in self.__dict__:  # the most derived class speaks first, and for all
                bound = inspect.signature(original).bind(self, *args, **kwargs)
                arguments = dict(list(bound.arguments.items())[1:])
                for parameter in inspect.signature(original).parameters.values():
                    if parameter.kind is parameter.VAR_KEYWORD:
                        arguments |= arguments.pop(parameter.name, {})
                object.__setattr__(self, "_arguments", arguments)
            original(self, *args, **kwargs)

        cls.__init__ = remember  # type: ignore[assignment, method-assign]

    def __post_init__(self) -> None:  # dataclasses call it; their constructor is written after the class
        plain_fields(self)


def _check_number(kind: type, name: str, value: Any, default: Any, annotation: Any) -> None:
    """Raise for null in the place of a number."""
    missing = value is None and isinstance(default, (int, float)) and "None" not in str(annotation)
    expect(not missing, f"a value for {name} of {kind.__name__}", "null", f"leave it out for {default}")


def _after_plain_fields(check: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(check)
    def after(self: Plugin, *args: Any) -> None:
        plain_fields(self)
        for field in fields(self):  # type: ignore[arg-type]
            _check_number(type(self), field.name, getattr(self, field.name, 0), field.default, field.type)
        check(self, *args)

    return after


def to_config(value: Any) -> Any:
    """Plain data from which `from_config` makes an equal plug-in: `{"class_path": …, "init_args": …}`.

    >>> from lm_objectives import CausalLM
    >>> to_config(CausalLM(share=2.0))
    {'class_path': 'lm_objectives.CausalLM', 'init_args': {'share': 2.0}}
    """
    if isinstance(value, Plugin):
        return {"class_path": class_path(type(value)), "init_args": to_config(_given(value))}
    value = plain(value)
    if isinstance(value, dict):
        return {str(key): to_config(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_config(item) for item in value]
    for number in (bool, int, float):
        if isinstance(value, number):
            return number(value)  # also of a class derived from it, such as an enumeration
    if value is None or isinstance(value, str):
        return value if value is None else str.__str__(value)
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


def from_config(description: Any, kind: type = Plugin) -> Any:
    """The plug-in that `to_config` wrote down, or those in a dict or list of such descriptions.

    Nothing is imported for a description but modules of this package: it may come from a stranger's checkpoint.

    Args:
        description: what `to_config` gave.
        kind: the class that the plug-ins are of; settings inside them may be of any.

    Raises:
        InputError: when a class path names anything but such a plug-in, or one of a module that is not imported (see
            `import_modules`), or when it cannot be made with its arguments.
    """
    if isinstance(description, dict) and set(description) == {"class_path", "init_args"}:
        path, arguments = description["class_path"], from_config(description["init_args"])
        found = find_class(path, kind)
        expect(isinstance(arguments, dict), f"arguments of {path} by name", repr(arguments), _MEND)
        try:
            return found(**arguments)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        except Exception as error:
            raise InputError(
                f"expected arguments that {path} can be made with, found others ({one_line(error)}): {_MEND}"
            ) from error
    if isinstance(description, dict):
        return {key: from_config(item, kind) for key, item in description.items()}
    if isinstance(description, list):
        return [from_config(item, kind) for item in description]
    return description


def import_modules(names: str | Iterable[str]) -> None:
    """Import modules by name, so that `from_config` knows the plug-ins in them.

    Raises:
        InputError: where there is no such module.
    """
    for name in [names] if isinstance(names, str) else names:
        import_users(name, "to import")


def import_users(name: str, purpose: str) -> ModuleType:
    """Import a module of the user's.

    Args:
        name: of the module.
        purpose: what it is for, for the message.

    Raises:
        InputError: where there is none; what it raises itself stays as it is.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if not f"{name}.".startswith(f"{error.name}."):  # the module itself imports what is missing
            raise
        raise InputError(
            f"expected a module {name} {purpose}, found none: check the spelling, and that you are in its folder"
        ) from error


def find_class(path: Any, kind: type) -> Any:
    """The class of a path, from this package or from a module that is imported already.

    Raises:
        InputError: when it names anything but a subclass of `kind`, or is of a module that is not imported.
    """
    module, _, name = path.rpartition(".") if isinstance(path, str) else ("", "", "")
    if module.split(".")[0] == lm_objectives.__name__:
        try:
            found = getattr(import_module(module), name, None)
        except ImportError:
            found = None
    else:
        imported = sys.modules.get(module)
        mend = f"where you trust it, name it with --import_module {module}, or import it first in Python"
        expect(not module or imported is not None, "classes of modules that are imported", path, mend)
        found = vars(imported).get(name) if imported else None  # `getattr` might import, where a module is lazy
    valid = isinstance(found, type) and issubclass(found, kind)
    expect(valid, f"a class that inherits from {kind.__name__}", path, _MEND)
    return found
