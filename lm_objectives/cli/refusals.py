"""What jsonargparse says of a value of the wrong type, in one short line."""

import re
from collections.abc import Iterator

_KEY = re.compile(r'Parser key "([^"]+)":')
_CLASS = re.compile(r"given class_path '([\w.]+)'")
_UNION = re.compile(r"Subtypes: \[(.*?)\] Errors: .*?Given value: ?(.*?)(?=\. Got value: | - Expected | - Type |$)")
_SINGLE = re.compile(r"Expected (?:an? )?(.+?)\. Got value: ?(.*?)(?=\. Got value: | - Expected | - Type |$)")
_NO_SUBCLASS = re.compile(r"Import path (\S+) does not correspond to a subclass of (\w+)")

_UNKNOWN = re.compile(r"Option '([\w.]+)' is not accepted: (.*?)(?=\. Got value: | - Expected | - Type |$)")

_LONGEST = 60  # characters of a value that are shown

_KINDS = {  # of values, as jsonargparse writes them
    r"<class 'int'>": "a whole number",
    r"<class 'float'>": "a number",
    r"<class 'str'>": "text",
    r"<class 'NoneType'>": "null",
    r"list\[list\[int \| float\]\]": "pairs [when, value]",
    r"list\[(int|float)\]": "a list of numbers",
    r"list\[str\]|collections\.abc\.Iterable\[str\]": "a list of texts",
    r"list\b.*|<class '(list|collections\.abc\.(Sequence|Iterable))'>|collections\.abc\..*\[[^\]]+\]": "a list",
    r"(dict|collections\.abc\.Mapping)\b.*|<class '(dict|collections\.abc\.Mapping)'>": "names with values",
}


def shorten_refusal(message: str) -> str:
    '''Expected, found and key of a value that a parser refuses; any other message as it is, in one line.

    >>> shorten_refusal("""Parser key "data.seq_len": Does not validate against any of the Union subtypes
    ... Subtypes: [<class 'int'>, list[list[int | float]]] Errors: - Expected a <class 'int'>
    ... - Expected a <class 'list'> Given value type: <class 'str'> Given value: long""")
    'expected a whole number or pairs [when, value] for data.seq_len, found long: write one of these'
    '''
    text = " ".join(message.split())
    keys = list(_KEY.finditer(text))
    if not keys:
        return text
    inner = text[keys[-1].end() :]
    kinds = [kind.rpartition(".")[2] for kind in _CLASS.findall(text)]
    for option in _UNKNOWN.finditer(text):
        if option[1] != "class_path":  # said of a class that was tried in the place of the one that was meant
            return f"expected known arguments of {kinds[-1] if kinds else keys[-1][1]}, found {option[1]}: {option[2]}"
    if found := _NO_SUBCLASS.search(inner):
        expected, value = f"a class that inherits from {found[2]}", found[1].rstrip(".")
    elif found := _UNION.search(inner):
        expected, value = _either([kind for part in _parts(found[1]) for kind in _name(part)]), found[2]
    elif found := _SINGLE.search(inner):
        expected, value = _either(_name(found[1])), found[2]
    else:
        return text
    path = [key[1] for key in keys]
    place = ".".join(path)
    if kinds and path[0] == "model.objectives":  # each by a name that the parser does not say
        place = f"{path[-1]} of {kinds[-1]} in {path[0]}"
    value = value if len(value) <= _LONGEST else f"{value[:_LONGEST]}…"
    return f"expected {expected} for {place}, found {value or 'nothing'}: write one{' of these' * (' or ' in expected)}"


def _parts(union: str) -> Iterator[str]:
    """The types of a union, `a, b[c, d]` as `a` and `b[c, d]`."""
    depth, start = 0, 0
    for at, character in enumerate(f"{union},"):
        depth += (character in "[(") - (character in "])")
        if character == "," and not depth:
            yield union[start:at].strip()
            start = at + 1


def _name(kind: str) -> list[str]:
    """What a type is called, once for each choice of a `Literal`; nothing for a tensor, which no text is."""
    if literal := re.fullmatch(r"typing\.Literal\[(.*)\]", kind):
        return [choice.strip("'") for choice in _parts(literal[1])]
    if values := re.match(r"tuple with (\d+) elements", kind):
        return [f"a list of {values[1]} values"]
    if kind == "<class 'bool'>":
        return ["true", "false"]
    for pattern, name in _KINDS.items():
        if re.fullmatch(pattern, kind):
            return [name]
    short = re.sub(r"^<class '|'>$", "", kind).rstrip("]").rpartition(".")[2]
    return [] if short == "Tensor" else [f"a class that inherits from {short}"]


def _either(names: list[str]) -> str:
    """Names in one phrase, each once; null last, and no whole number where any number does."""
    kept = [name for name in dict.fromkeys(names) if name != "a whole number" or "a number" not in names]
    kept.sort(key=lambda name: name == "null")
    return " or ".join(filter(None, [", ".join(kept[:-1]), kept[-1]])) if kept else "another value"
