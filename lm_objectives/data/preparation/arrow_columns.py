"""Find the text column of an Arrow table, also one within a structure, and read it."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lm_objectives.data.preparation.fields import no_field, no_text
from lm_objectives.errors import InputError, one_line

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 64
"""Rows of a table, read at once."""


def text_column(schema: "pa.Schema", field: str, place: object, others: set[str]) -> list[str]:
    """The names that lead to the text, the outermost first.

    Args:
        schema: of the table.
        field: its name, `meta.text` where it lies in the structure `meta` and no column is called so.
        place: where the table lies, for errors.
        others: gets the names of all other columns.

    Raises:
        InputError: where there is none, or it holds something else than text.
    """
    columns = {".".join(path): (path, kind) for path, kind in _columns(schema)}
    columns |= {column.name: ([column.name], column.type) for column in schema if column.name in columns}
    if field not in columns:
        raise no_field(field, list(columns), place)
    path, kind = columns[field]
    if not _is_text(kind):
        raise no_text(field, str(kind), place)
    others |= columns.keys() - {field}
    return path


def column_texts(table: Any, path: list[str], place: object) -> Iterator[str]:
    """The texts of a batch or table whose only column leads to them.

    Raises:
        InputError: for text that is no UTF-8, which Arrow looks at here alone.
    """
    import pyarrow.compute as compute

    column = table.column(0)
    for name in path[1:]:
        column = compute.struct_field(column, name)
    try:
        texts = column.to_pylist()
    except UnicodeDecodeError as error:
        raise InputError(
            f"expected text in UTF-8, found something else in {place} ({one_line(error)}): write it anew"
        ) from error
    return (text or "" for text in texts)  # which hold the table no longer: a row of it may be large


def _columns(fields: "Iterable[pa.Field]", outer: Sequence[str] = ()) -> Iterator[tuple[list[str], "pa.DataType"]]:
    """The names that lead to each column, and its type; those of a structure one by one."""
    import pyarrow as pa

    for column in fields:
        path = [*outer, column.name]
        if pa.types.is_struct(column.type) and column.type.num_fields:
            yield from _columns(map(column.type.field, range(column.type.num_fields)), path)
        else:
            yield path, column.type


def _is_text(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    return any(test(kind) for test in tests)
