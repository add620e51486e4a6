"""YAML as a tree of settings: text keys that stand once, and neither loops nor depths that no setting has."""

from pathlib import Path
from typing import Any

import yaml

from lm_objectives.errors import InputError, expect, one_line

_DEPTH = 50
_SIZE = 100_000  # values, those behind an alias counted each time
_DIGITS = 300  # as many as a float holds


class _Loader(yaml.SafeLoader):
    def __init__(self, text: str | bytes, place: str) -> None:
        super().__init__(text)
        self.place = place
        self._open: list[str | None] = []  # anchors of the mappings and lists around a node, None for one without
        self._sizes: dict[int, int] = {}  # of nodes by id

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()
        loops = isinstance(event, yaml.AliasEvent) and event.anchor in self._open
        self.expect(not loops, event, "values that end", "an alias within itself", "write them out")
        collection = isinstance(event, yaml.CollectionStartEvent)
        if collection:
            self._open.append(event.anchor)
            self.expect(len(self._open) <= _DEPTH, event, f"at most {_DEPTH} levels", "more", "write fewer brackets")
        node = super().compose_node(parent, index)
        if collection:
            self._open.pop()
        if node is not None and id(node) not in self._sizes:
            children = node.value if isinstance(node, yaml.CollectionNode) else []
            parts = [part for child in children for part in (child if isinstance(child, tuple) else (child,))]
            self._sizes[id(node)] = 1 + sum(self._sizes[id(part)] for part in parts)
            self.expect(self._sizes[id(node)] <= _SIZE, event, f"at most {_SIZE:,} values", "more", "use fewer aliases")
            self._check(node)
        return node

    def _check(self, node: yaml.Node) -> None:
        if node.tag == "tag:yaml.org,2002:int":
            found = f"one of {len(node.value):,}"
            self.expect(len(node.value) <= _DIGITS, node, f"numbers of at most {_DIGITS} digits", found, "shorten it")
        lines: dict[str, int] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key.tag == "tag:yaml.org,2002:bool":
                key.tag = "tag:yaml.org,2002:str"  # the word, such as `on`
            text = isinstance(key, yaml.ScalarNode) and key.tag.endswith((":str", ":merge"))
            found = key.value if isinstance(key, yaml.ScalarNode) else f"a {key.id}"
            self.expect(text, key, "text for each key", found, "write it in quotes, or correct it")
            line = key.start_mark.line + 1
            if key.value in lines:
                raise InputError(
                    f"expected each key once in {self.place}, found {key.value} on line {lines[key.value]} and again "
                    f"on line {line}: keep one of them"
                )
            lines[key.value] = line

    def expect(self, valid: bool, at: Any, expected: str, found: str, mend: str) -> None:
        """Raise an `InputError` that names the line unless `valid`."""
        if not valid:
            line = at.start_mark.line + 1
            raise InputError(f"expected {expected} in {self.place}, found {found[:80]} on line {line}: {mend}")


_Loader.yaml_implicit_resolvers = {  # a date stays text, as the parser reads it
    first: [(tag, form) for tag, form in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_mapping(file: Path, kind: str, example: str) -> dict[str, Any]:
    """The settings of a YAML file.

    Args:
        file: its path, where it is.
        kind: what the file is of, for messages.
        example: keys to write, for a file without any.

    Raises:
        InputError: as `load_yaml` does, for a file that is broken, or holds no settings.
    """
    try:
        content = load_yaml(file.read_bytes(), str(file))
    except yaml.YAMLError as error:
        raise InputError(f"expected YAML in {file}, found a mistake: {one_line(error)}: correct it") from error
    found = "nothing" if content is None else type(content).__name__
    expect(isinstance(content, dict), f"the settings of a {kind} in {file}", found, f"write {example}, …")
    settings: dict[str, Any] = content
    return settings


def load_yaml(text: str | bytes, place: str) -> Any:
    """The content of a YAML text.

    >>> load_yaml("{lr: 1, lr: 2}", "optimizer.yaml")
    Traceback (most recent call last):
        ...
    lm_objectives.errors.InputError: expected each key once in optimizer.yaml, found lr on line 1 and again on line 1: \
keep one of them

    Args:
        text: what is read.
        place: where it stands, for messages.

    Raises:
        InputError: for a key that stands twice or is no text, for values that hold themselves, and for more levels,
            values or digits than any setting has.
        yaml.YAMLError: for what is no YAML.
    """
    loader = _Loader(text, place)
    try:
        return loader.get_single_data()
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise yaml.YAMLError(str(error)) from error  # a number without digits, such as 0x_
    finally:
        loader.dispose()
