"""Read the texts of JSON lines, or of one JSON array, as streams."""

import json
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

from lm_objectives.data.preparation import streams
from lm_objectives.data.preparation.fields import field_names, no_field, no_text, value_at
from lm_objectives.data.preparation.storage import File
from lm_objectives.data.preparation.streams import read_lines
from lm_objectives.errors import InputError

_BETWEEN = re.compile(r"[\s,]*")  # what stands between the records of an array

_SURROGATE = re.compile("[\ud800-\udfff]")  # half of a pair that JSON has escaped: no text has it alone

_TRIED = 1000  # records without the field after which no further one is read


def json_texts(file: File, field: str, others: set[str]) -> Iterator[str]:
    """The text of each record; names of other fields, as far as the first records have them, are added to `others`."""
    names: dict[str, None] = {}
    found = False
    for number, (line, record) in enumerate(read_json(file), 1):
        if not isinstance(record, dict):
            raise InputError(
                f"expected an object with a text field in {file}, found {_called(record)} in line {line}: "
                'write each document as {"text": "…"}'
            )
        if number <= _TRIED:
            names |= dict.fromkeys(field_names(record))
        there, text = value_at(record, field)
        found = found or there
        if not found and number == _TRIED:
            raise no_field(field, list(names), file)
        if text is not None and not isinstance(text, str):
            raise no_text(field, _called(text), f"{file}, line {line}")
        if text and _SURROGATE.search(text):
            raise InputError(f"expected text in UTF-8, found half a character in {file}, line {line}: mend the line")
        yield text or ""
    if names and not found:
        raise no_field(field, list(names), file)
    others |= names.keys() - {field}


def _called(value: Any) -> str:
    return {list: "a list", dict: "an object", bool: "true or false"}.get(type(value)) or (
        "text" if isinstance(value, str) else "a number" if isinstance(value, int | float) else "null"
    )


def read_json(file: File) -> Iterator[tuple[int, Any]]:
    """The records of a file of JSON lines, or of one array, each with the number of the line where it starts.

    Raises:
        InputError: for what is no JSON or no UTF-8, and for a file that cannot be read to its end.
    """
    lines = read_lines(file, streams.BLOCK)
    first = next((line for line in lines if not line.isspace()), "")
    lines.close()
    if first.lstrip().startswith("["):
        yield from _array(file)
        return
    number = 0
    for line in read_lines(file):
        number += 1
        if line.isspace():
            continue
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise _broken(file, number, error) from error
        del line  # which may be as large as the record
        yield number, record
        del record


def _array(file: File) -> Iterator[tuple[int, Any]]:
    """The records of one array, of which memory holds about one block."""
    decoder, buffer, number, enough, opened = json.JSONDecoder(), "", 1, 0, False
    blocks = chain(read_lines(file, streams.BLOCK), [None])
    for block in blocks:
        buffer += block or ""
        if block is not None and len(buffer) < enough:
            continue
        at = 0
        while True:
            between = _BETWEEN.match(buffer, at)
            assert between is not None
            number += buffer.count("\n", at, between.end())
            at = between.end()
            if not opened and buffer[at : at + 1] == "[":
                at, opened = at + 1, True
                continue
            if buffer[at : at + 1] == "]":
                if not all((rest or " ").isspace() for rest in chain([buffer[at + 1 :]], blocks)):
                    raise InputError(
                        f"expected one JSON array in {file}, found more after the one that ends in line {number}: "
                        "write one array, or one record a line"
                    )
                return
            try:
                record, end = decoder.raw_decode(buffer, at)
            except (json.JSONDecodeError, RecursionError) as error:
                if block is None:
                    raise _broken(file, number, error) from error
                break
            yield number, record
            number += buffer.count("\n", at, end)
            at = end
        buffer = buffer[at:]
        enough = 2 * len(buffer)  # a record longer than a block is not tried again at every block


def _broken(file: File, number: int, error: Exception) -> InputError:
    reason = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
    return InputError(f"expected JSON in {file}, found a mistake in line {number} ({reason}): mend or remove the line")
