"""The command `configs`, and the shipped configurations that `--config` finds by name."""

import os
import re
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import resources
from itertools import takewhile
from pathlib import Path
from textwrap import shorten

from lm_objectives.errors import InputError, expect
from lm_objectives.files import atomic_write

_NAME = re.compile(r"[\w/-]+")


def configs(name: str | None = None, output: str | None = None) -> None:
    """List the shipped configurations, or print or copy one.

    Args:
        name: of one, such as quickstart or balancers/gradnorm; by default all are listed, with a line each.
        output: file to write it to; by default it is printed.

    Raises:
        InputError: for an unknown name, and for an output that exists.
    """
    if name is None:
        shipped = _shipped()
        width = max(map(len, shipped))
        print("\n".join(f"{known:<{width}}  {_description(path)}" for known, path in shipped.items()))
        return
    text = find_config(name).read_text(encoding="utf-8")
    if output is None:
        print(text, end="")
        return
    target = Path(output).expanduser()
    expect(not target.exists(), "a new file for output", f"{target} in place", "choose another, or remove it")
    with atomic_write(target) as file:
        file.write(text.encode())
    print(f"wrote {target}")


def resolve_names(arguments: Sequence[str]) -> list[str]:
    """A command line in which each shipped configuration that `--config` names is given by its path.

        --config quickstart   ->   --config …/lm_objectives/configs/quickstart.yaml

    A file of that name in the current folder goes before.
    """
    made = list(arguments)
    for index, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in ("--config", "-c") and equals:
            made[index] = f"{name}={_resolve(value)}"
        elif name in ("--config", "-c") and index + 1 < len(arguments):
            made[index + 1] = _resolve(arguments[index + 1])
    return made


def _resolve(value: str) -> str:
    return str(find_config(value)) if _NAME.fullmatch(value) and not os.path.exists(value) else value


def find_config(name: str) -> Path:
    """The file of a shipped configuration.

    Raises:
        InputError: for an unknown name.
    """
    known = _shipped()
    if name not in known:
        near = get_close_matches(name, known, 1, 0.5) or [other for other in known if other.endswith(f"/{name}")][:1]
        hint = f"did you mean {near[0]}? " if near else ""
        raise InputError(
            f"expected a file or the name of a shipped configuration, found {name!r}: {hint}lm-objectives configs "
            "lists them"
        )
    return known[name]


def _shipped() -> dict[str, Path]:
    folder = Path(str(resources.files("lm_objectives"))) / "configs"
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.yaml"))}


def _description(path: Path) -> str:
    """The comment that a file begins with, in one line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = takewhile(lambda line: line.startswith("#"), lines)
    return shorten(" ".join(line.removeprefix("#").strip() for line in comment), 100, placeholder=" …")
