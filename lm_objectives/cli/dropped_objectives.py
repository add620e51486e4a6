"""Objectives of an earlier configuration that a later one sets to null."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import yaml

from lm_objectives.cli.arguments import read_argument
from lm_objectives.errors import expect

_KEY = ["model", "objectives"]


class _Given(NamedTuple):
    """What one argument says: its text, its dotted name as keys, none for a config file, and its value."""

    text: list[str]
    keys: list[str]
    value: Any


def drop_objectives(arguments: Sequence[str]) -> list[str]:
    """A command line without the objectives that are set to null, and without what is said of them before.

        --config three.yaml --model.objectives.order null   ->   --config={what three.yaml says without order}

    A mapping with a null in it is laid over the objectives before it; any other one takes their place.

    Args:
        arguments: the command line after the command.

    Raises:
        InputError: for a null that drops nothing.
    """
    made: list[_Given] = []
    for given in _read(arguments):
        objectives = _objectives(given)
        dropped = [name for name, value in objectives.items() if value is None]
        for name in dropped:
            known = sorted({other for earlier in made for other in _objectives(earlier)})
            there = f"there are {', '.join(known)}" if known else "there are none"
            expect(name in known, f"an objective given before to drop with null in {'.'.join(_KEY)}", name, there)
            made = [rest for earlier in made if (rest := _without(earlier, [*_KEY, name]))]
        rest = _without(given, _KEY) if dropped else given
        kept = {name: value for name, value in objectives.items() if dropped and value is not None}
        made += [rest] if rest else []
        made += [_written([*_KEY, name], value) for name, value in kept.items()]
    return [text for given in made for text in given.text]


def _read(arguments: Sequence[str]) -> Iterator[_Given]:
    rest = list(arguments)
    while rest:
        text = [rest.pop(0)]
        name, equals, value = text[0].partition("=")
        if not equals and name.startswith("-") and rest and not rest[0].startswith("--"):
            value = rest.pop(0)
            text.append(value)
        content = read_argument(name, value) if name.startswith("-") else None
        yield _Given(text, [] if name in ("--config", "-c") else name.removeprefix("--").split("."), content)


def _objectives(given: _Given) -> dict[str, Any]:
    tree = given.value
    for key in reversed(given.keys):
        tree = {key: tree}
    for key in _KEY:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree if isinstance(tree, dict) else {}


def _without(given: _Given, path: list[str]) -> _Given | None:
    """What an argument says apart from one key, None for one that says nothing else."""
    if given.keys[: len(path)] == path:
        return None
    if given.keys != path[: len(given.keys)]:
        return given
    *around, last = path[len(given.keys) :]
    value = tree = _copy(given.value)
    for key in around:
        tree = tree.get(key) if isinstance(tree, dict) else None
    if not isinstance(tree, dict) or last not in tree:
        return given
    del tree[last]
    return _written(given.keys, value)


def _copy(value: Any) -> Any:
    return {key: _copy(part) for key, part in value.items()} if isinstance(value, dict) else value


def _written(keys: list[str], value: Any) -> _Given:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1 << 30).removesuffix("...\n").strip()
    return _Given([f"--{'.'.join(keys) or 'config'}={text}"], keys, value)
