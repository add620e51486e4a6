"""Optimizer factories as plain data: the class and its arguments."""

import traceback
from collections.abc import Iterable
from functools import partial
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

from lm_objectives.errors import InputError, expect
from lm_objectives.plugin import class_path, find_class, plain, to_config
from lm_objectives.ranges import is_finite, is_within

DEFAULT = partial(AdamW, lr=1e-3, weight_decay=0.1)
"""Makes the optimizer where none is given."""


class UnknownFactory:
    """Stands for a function that made an optimizer, of which a checkpoint holds the name alone.

    Args:
        name: of the function.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, parameters: Iterable[Any]) -> NoReturn:
        """Ask for the function."""
        raise InputError(
            f"expected the optimizer of a run that was trained with a function, {self.name}, which a checkpoint cannot "
            "hold, found none: give it as load_from_checkpoint(path, optimizer=...)"
        )


def make_optimizer(factory: Any, groups: list[dict[str, Any]]) -> Optimizer:
    """The optimizer that a factory makes of groups of parameters; a checkpoint holds its settings as plain numbers.

    Raises:
        InputError: for a setting that is not finite, a momentum of torch's optimizers beyond 1, and what torch refuses.
    """
    try:
        optimizer: Optimizer = factory(groups)
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, InputError) or not _raised_in_torch(error):
            raise
        raise InputError(f"expected an optimizer that can be made, found {error}: change model.optimizer") from error
    for settings in (optimizer.defaults, *optimizer.param_groups):
        for name, value in settings.items():
            if name != "params" and not isinstance(value, Tensor):  # a rate may be one, for compiled steps
                settings[name] = plain(value)
                _check_finite(name, settings[name])
    if type(optimizer).__module__.startswith("torch.optim"):
        for name in ("momentum", "dampening", "alpha"):  # torch asks for no end, or for nothing
            value = optimizer.defaults.get(name, 0)
            valid = isinstance(value, bool) or is_within(value, 0, 1)
            expect(valid, f"{name} of the optimizer from 0 to 1", value, "0.9 is usual, 0 turns it off")
    return optimizer


def _raised_in_torch(error: Exception) -> bool:
    frames = [frame.f_globals["__name__"] for frame, _ in traceback.walk_tb(error.__traceback__)]
    return frames[-1].startswith("torch.")


def _check_finite(name: str, value: Any) -> None:
    for number in value if isinstance(value, (list, tuple)) else [value]:
        valid = not isinstance(number, (int, float)) or isinstance(number, bool) or is_finite(number)
        expect(valid, f"a finite {name} of the optimizer, within single precision", number, "lower it")


def factory_to_config(factory: Any) -> dict[str, Any] | str:
    """Plain data from which `factory_from_config` makes an equal factory; of a function its name alone.

    A factory is an optimizer's class, a partial of one, or what the command line makes of its settings.

    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> factory_to_config(partial(SGD, lr=0.1))
    {'class_path': 'torch.optim.SGD', 'init_args': {'lr': 0.1}}
    """
    if isinstance(factory, UnknownFactory):
        return factory.name
    kind, arguments = _unwrap(plain(factory))
    if isinstance(kind, type) and issubclass(kind, Optimizer) and _is_plain(arguments):
        return {"class_path": optimizer_path(kind), "init_args": to_config(arguments)}
    function = kind.func if isinstance(kind, partial) else kind
    return f"{function.__module__}.{getattr(function, '__qualname__', type(function).__qualname__)}"


def factory_from_config(description: Any) -> Any:
    """The factory that `factory_to_config` wrote down; anything else as it is.

    Raises:
        InputError: when the class path names anything but an optimizer of a module that is imported.
    """
    if isinstance(description, str):
        return UnknownFactory(description)
    if isinstance(description, dict):
        return partial(find_class(description["class_path"], Optimizer), **description["init_args"])
    return description


def optimizer_path(kind: type) -> str:
    """The import path of an optimizer's class, the public one of those of torch."""
    return f"torch.optim.{kind.__name__}" if getattr(torch.optim, kind.__name__, None) is kind else class_path(kind)


def _unwrap(factory: Any) -> tuple[Any, dict[str, Any]]:
    """What a factory calls, and the arguments that it adds."""
    if not isinstance(factory, partial):
        return factory, {}
    if not factory.args:
        return factory.func, factory.keywords
    *makers, kind = factory.func, *factory.args
    modules = {str(getattr(maker, "__module__", "")).split(".")[0] for maker in makers}
    if modules == {"jsonargparse"}:  # which do no more than call the class
        return kind, factory.keywords
    return factory, {}


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))
