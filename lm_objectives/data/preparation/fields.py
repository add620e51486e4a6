"""Find the text field of records, also one within another, and say what is there where it is not."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from lm_objectives.errors import InputError

_LONGEST = 40  # characters of a name in a message: where a header is missing, a whole text stands in its place


def value_at(record: Mapping[str, Any], field: str) -> tuple[bool, Any]:
    """Whether a record has a field, and what it holds; `meta.text` is that of `meta`, where no field is called so.

    >>> value_at({"meta": {"text": "One."}}, "meta.text")
    (True, 'One.')
    """
    if field in record:
        return True, record[field]
    value: Any = record
    for name in field.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return False, None
        value = value[name]
    return True, value


def field_names(record: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The names by which the fields of a record are set, those within others with a point."""
    for name, value in record.items():
        if isinstance(value, Mapping) and value:
            yield from field_names(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def no_field(field: str, names: list[str], place: object) -> InputError:
    """The one line on a text field that is not there, with the nearest of those that are."""
    near = [name[:_LONGEST] for name in difflib.get_close_matches(field, names, n=len(names), cutoff=0.0) or names]
    return InputError(
        f"expected a text field {field!r}, found {', '.join(near) or 'none'} in {place}: "
        f"set text_field{f', perhaps to {near[0]!r}' if near else ''}"
    )


def no_text(field: str, kind: str, place: object) -> InputError:
    """The one line on a field that holds something else."""
    return InputError(f"expected text in field {field!r}, found {kind} in {place}: set text_field to one with text")
