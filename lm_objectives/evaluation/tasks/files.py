"""Read tasks from JSON lines: minimal pairs, options after a context, or labelled texts."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import fsspec

from lm_objectives.errors import InputError, expect, one_line
from lm_objectives.evaluation.tasks.base import Task
from lm_objectives.evaluation.tasks.choices import Choice, ChoiceTask
from lm_objectives.evaluation.tasks.labelled import LabelledTask, LabelledText

_GROUP_KEYS = ("UID", "group", "phenomenon", "category", "field")
_PHENOMENON_KEYS = ("linguistics_term", "phenomenon")
_FORMS = {
    "sentence_good": "{sentence_good, sentence_bad}",
    "options": "{context, options, label}",
    "text": "{text, label, split}",
}


def read_task(name: str, path: str) -> Task:
    """The task of a file of JSON lines, which may be compressed or lie elsewhere, as fsspec reads it.

        {"sentence_good": "It rains.", "sentence_bad": "It rain.", "UID": "agreement"}      a minimal pair
        {"context": "It rained, so we", "options": ["got wet.", "sang."], "label": 0}       options
        {"text": "It rained.", "text_b": "We got wet.", "label": "wet", "split": "train"}   a labelled text

    A context may be called `input_prefix`. A space is put between a context and an option unless one stands there.
    Items are averaged by UID, group, phenomenon, category or field, the first of these that they have.

    Args:
        name: of the task.
        path: of the file.

    Raises:
        InputError: where there is no such file, a line that is no item of the first one's form, or none at all.
    """
    rows = [*_read_lines(path)]
    expect(bool(rows), f"items in {path}", "none", "give a file of JSON lines")
    (begin, first), known = rows[0], ", ".join(_FORMS.values())
    form = next((form for form in _FORMS if form in first), None)
    if form is None:
        found = f"the fields {', '.join(first) or 'none'}"
        raise InputError(f"expected items of {known} in {path}, found {found} in {begin}: rename them")
    if form == "text":
        return LabelledTask(name, [_labelled(row, at) for at, row in rows])
    key, term = (next((key for key in keys if key in first), None) for keys in (_GROUP_KEYS, _PHENOMENON_KEYS))
    make = _pair if form == "sentence_good" else _options
    choices = [make(row, at, key, None if term == key else term) for at, row in rows]
    return ChoiceTask(name, choices, key)


def _read_lines(path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line's place and object; empty lines are passed over."""
    source = str(Path(path).expanduser()) if "://" not in path else path
    try:
        with fsspec.open(source, "rt", compression="infer", encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"{path} line {number}", _parse(line, f"{path} line {number}")
    except InputError:
        raise
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError(f"expected a task's file at {path}, found none: check the path") from error
    except Exception as error:  # of a file system, of a compression, of bytes that are no text
        raise InputError(
            f"expected JSON lines in UTF-8 at {path}, found something else ({one_line(error)}): check the file"
        ) from error


def _parse(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"expected JSON in {where}, found {line.strip()[:40]!r}: write one object a line") from error
    expect(isinstance(row, dict), f"an object in {where}", line.strip()[:40], "write one object a line")
    return row


def _text(row: Mapping[str, Any], key: str, where: str) -> str:
    value = row.get(key)
    mend = "give each item one"
    expect(isinstance(value, str) and bool(value.strip()), f"a text for {key} in {where}", repr(value), mend)
    return str(value)


def _group(row: Mapping[str, Any], key: str | None, where: str) -> str:
    if key is None:
        return ""
    given, mend = row.get(key) not in (None, ""), "give it to all items or to none"
    expect(given, f"{key} in {where}, as the first item has it", "none", mend)
    return str(row[key]).replace("syntax/semantics", "syntax_semantics")  # BLiMP has both


def _pair(row: Mapping[str, Any], where: str, key: str | None, term: str | None) -> Choice:
    options = _text(row, "sentence_good", where), _text(row, "sentence_bad", where)
    return Choice("", options, 0, _group(row, key, where), _group(row, term, where), where)


def _options(row: Mapping[str, Any], where: str, key: str | None, term: str | None) -> Choice:
    context = row.get("context", row.get("input_prefix", ""))
    expect(isinstance(context, str), f"a text for context in {where}", repr(context), "give each item one")
    options: Sequence[Any] = row["options"] if isinstance(row.get("options"), list) else ()
    texts = all(isinstance(option, str) and option.strip() for option in options)
    mend = "give a list of texts with words"
    expect(texts and len(options) > 1, f"two options or more in {where}", repr(row.get("options")), mend)
    label = row.get("label")
    ranged = isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(options)
    expected = f"a label from 0 to {len(options) - 1} in {where}"
    expect(ranged, expected, repr(label), "give the number of the right option")
    led = tuple(_after(context, option) for option in options)
    return Choice(context, led, int(label or 0), _group(row, key, where), _group(row, term, where), where)


def _after(context: str, option: str) -> str:
    return option if not context or context[-1].isspace() or option[0].isspace() else f" {option}"


def _labelled(row: Mapping[str, Any], where: str) -> LabelledText:
    second = row.get("text_b")
    expect(second is None or isinstance(second, str), f"a text for text_b in {where}", repr(second), "leave it out")
    label, split = row.get("label"), row.get("split")
    expect(isinstance(label, str | int), f"a label in {where}", repr(label), "give a name or a number")
    splits = ("train", "validation", "test")
    expect(split in splits, f"a split of {', '.join(splits)} in {where}", repr(split), "say where the item belongs")
    return LabelledText(_text(row, "text", where), second, str(label), str(split), where)
