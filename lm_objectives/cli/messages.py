"""What is wrong with a command's settings, in one line: what was expected, what was found, how to mend it."""

import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from importlib import import_module
from inspect import signature
from typing import Any

import yaml

from lm_objectives.cli.arguments import config_paths
from lm_objectives.errors import InputError

_PLUGINS = {"objectives": "objective", "balancer": "balancer", "optimizer": "optimizer"}


_SAID = r"(?:[\w.]+(?: of \w+)? expects|expected) .*?[,;] found "


def is_about_input(message: str) -> bool:
    """Whether a message says what was expected of the user and what was found instead."""
    return re.search(_SAID, " ".join(message.split())) is not None


def check_config_files(arguments: Sequence[str], keys: Iterable[str]) -> None:
    """Read the YAML files that a command line names, before anything else does.

    Args:
        arguments: the command line after the command.
        keys: all settings there are, dotted.

    Raises:
        ValueError: for a file that is missing or broken, and for a key that is not known.
    """
    known = set(keys)
    for path in config_paths(arguments):
        if not path.is_file():
            raise InputError(f"expected a config file at {path}, found none: check the path of --config")
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else "?"
            raise InputError(f"expected YAML in {path}, found a mistake in line {line}: {error.problem}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError(f"expected YAML in {path}, found something else: {error}") from error
        if content is not None and not isinstance(content, dict):
            raise InputError(f"expected settings in {path}, found {type(content).__name__}: write `key: value` lines")
        for key in _unknown(content or {}, "", known):
            raise InputError(f"expected known settings in {path}, found {key!r}: {nearest(key, known)}")


def _unknown(content: dict[str, Any], prefix: str, known: set[str]) -> Iterator[str]:
    """Keys of a file that are no setting; what lies below a setting is the setting's own affair."""
    for name, value in content.items():
        key = f"{prefix}{name}"
        if any(other.startswith(f"{key}.") for other in known) and isinstance(value, dict):
            yield from _unknown(value, f"{key}.", known)
        elif key not in known and not any(other.startswith(f"{key}.") for other in known):
            yield key


def nearest(key: str, known: Iterable[str]) -> str:
    """The mend for a key that is not known."""
    known = [name for name in known if name not in ("help", "print_config")]
    begun = [name for name in known if name.startswith(key)]
    near = begun[:1] or get_close_matches(key, known, 1, 0.6) or get_close_matches(key.split(".")[-1], known, 1, 0.75)
    return f"did you mean {near[0]}?" if near else "--help lists all settings"


def explain(message: str, keys: Iterable[str]) -> str:
    """One line for what the parser said.

    Args:
        message: the parser's message, of any length.
        keys: all settings there are, dotted.
    """
    message = " ".join(message.split())
    if is_about_input(message):  # written for the user; the parser puts its own words around it
        start = re.search(_SAID, message)
        assert start is not None
        return re.split(r" - (?:Expect|Prob|Does)| Given value|\. Got value", message[start.start() :])[0]
    if found := re.search(r"unrecognized arguments: (--?([\w.]+)\S*)", message):
        return f"expected known settings, found {found[1]}: {nearest(found[2], keys)}"
    if found := re.search(r"unrecognized arguments: (\S+)", message):
        return f"expected settings as --name value, found {found[1]!r} alone: --help lists all settings"
    key = found[1] if (found := re.search(r'Parser key "([\w.]+)"', message)) else "a setting"
    if key != "a setting" and "Option 'class_path' is not accepted" in message:
        return f"expected class_path and init_args in {key}, found arguments beside them: put these below init_args"
    if found := re.search(r"class_path '([\w.]+)': .*?(?:Option|Key) '([\w.]+)' is not (?:accepted|expected)", message):
        mend = _nearest_argument(found[1], found[2])
        return f"expected a setting of {_short(found[1])} in {key}, found {found[2]!r}: {mend}"
    if found := re.search(r"Option '([\w.]+)' is not accepted\. Got value: Namespace\(class_path='([\w.]+)'", message):
        mend = _nearest_argument(found[2], found[1])
        return f"expected a setting of {_short(found[2])} in {key}, found {found[1]!r}: {mend}"
    if found := re.search(r"Subtypes: \[<class '(\w+)'>, <class 'torch.Tensor'>\] .*Given value: (.+)$", message):
        return f"expected {_a(found[1])} for {key}, found {found[2]!r}: change its value"
    kind = next((kind for part, kind in _PLUGINS.items() if part in key), None)
    patterns = (
        r"Expected a dot import path string: (\S+)",
        r"No module named '?([\w.]+)",
        r"class_path '?([\w.]+)'? (?:is not|does not)",
        r"(?:Import path|Unable to import|Unexpected import path format:?) '?([\w.]+)",
        r"module '[\w.]+' has no attribute '(\w+)'",
    )
    for pattern in patterns if kind else ():
        if found := re.search(pattern, message):
            return f"expected {_a(kind)} in {key}, found {found[1]!r}: {_names(found[1], kind)}"
    if found := re.search(
        r'(?:Parser key "(\w+)": )?Expected a <class \'(\w+)\'>\. Got value: (.+?)(?: - |$)', message
    ):
        inner = re.findall(r'Parser key "([\w.]+)"', message)
        return f"expected {_a(found[2])} for {'.'.join(dict.fromkeys(inner))}, found {found[3]!r}: change its value"
    if found := re.search(r'Parser key "(\w+)": Expected a (tuple .+?)\. Got value: (.+?\])', message):
        return f"expected a {found[2]} for {found[1]}, found {found[3]}: change its value"
    if found := re.search(r"Expected a typing\.Literal\[(.+?)\]\. Got value: (\S+)", message):
        return f"expected one of {found[1]} for {key}, found {found[2]!r}: choose one of them"
    if found := re.search(r"arguments are required: (?:\w+\.)?(model\.\S+)", message):
        return f"expected a value for {found[1]}, found none: give a --config, for example configs/quickstart.yaml"
    if found := re.search(r"arguments are required: (\w+)$", message):
        return f"expected a value for --{found[1]}, found none: give one"
    if found := re.search(r"NestedArg\(key='([\w.]+)'", message):
        return f"expected a setting of {key}, found {found[1]!r}: --{key}.help with its class lists them"
    if found := re.search(r"Expected a dot import path string: (\w\S*?)\.? ", message + " "):
        return f"expected the import path of a class for {key}, found {found[1]!r}: name it as in my_module.MyClass"
    if found := re.search(r"Given value: (.+)$", message):
        return f"expected a value that {key} takes, found {found[1]}: --help lists what it takes"
    if found := re.search(r"Key \"?'?([\w.]+)'?\"? is not (?:required|expected)", message):
        return f"expected known settings, found {found[1]}: {nearest(found[1], keys)}"
    message = message.rpartition("describes, found: ")[2]  # a parser within a parser has been here
    return f"expected settings that --help describes, found: {message[:300]}"


def _a(noun: str | None) -> str:
    return f"{'an' if str(noun)[0] in 'aeiou' else 'a'} {noun}"


def _short(path: str) -> str:
    return path.rsplit(".", 1)[-1]


_GIVEN = ("self", "args", "kwargs", "params")  # which no user writes


def _nearest_argument(path: str, name: str) -> str:
    """The mend for an argument that a class does not have."""
    module, _, kind = path.rpartition(".")
    made = getattr(import_module(module), kind)
    names: list[str] = []
    for base in made.__mro__:
        if "__init__" in base.__dict__:
            names += [p for p in signature(base.__init__).parameters if p not in (*_GIVEN, *names)]
            if "kwargs" not in signature(base.__init__).parameters:
                break
    near = get_close_matches(name, names, 1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"


def _names(found: str, kind: str | None) -> str:
    """The plug-ins of a kind, and how a user's own is named."""
    if kind == "optimizer":
        names = [optimizer.__name__ for optimizer in import_module("lm_objectives.optim").NAMED]
    else:
        package = import_module(f"lm_objectives.{'objectives' if kind == 'objective' else 'balancers'}")
        base = package.Objective if kind == "objective" else package.Balancer
        made = {name: getattr(package, name) for name in package.__all__}
        names = [
            n for n, plugin in made.items() if isinstance(plugin, type) and issubclass(plugin, base) and plugin != base
        ]
    near = get_close_matches(_short(found), names, 1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{hint}there are {', '.join(names)}, and the import path of a class of your own, as in my_module.MyClass"
