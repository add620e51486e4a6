"""Read the texts of tables in CSV or TSV as streams."""

import csv
import io
from collections.abc import Iterator

from lm_objectives.data.preparation.fields import no_field
from lm_objectives.data.preparation.storage import File
from lm_objectives.data.preparation.streams import read_lines
from lm_objectives.errors import InputError

_DELIMITERS = (",", "\t", ";", "|")

_LONGEST = 2**31 - 1  # characters of a cell; Python's own limit is 2^17


def csv_texts(file: File, field: str, others: set[str]) -> Iterator[str]:
    """The text of each row; the first row names the columns, and the other ones' names are added to `others`.

    Cells are divided by the one of `,`, tab, `;` and `|` by which the first row has the field. A cell in double quotes
    may hold line breaks, delimiters and doubled quotes.

    Raises:
        InputError: for a row that is not as long as the first, quotes that are not closed, and what `read_lines`
            raises.
    """
    lines = read_lines(file)
    first, header = next(((number, line) for number, line in enumerate(lines, 1) if not line.isspace()), (1, ""))
    rows = [_row(header, delimiter) for delimiter in _DELIMITERS]
    fitting = [number for number, names in enumerate(rows) if field in names]
    if not fitting:
        if header:
            raise no_field(field, max(rows, key=len), file)
        return
    delimiter, names = _DELIMITERS[fitting[0]], rows[fitting[0]]
    others |= {*names} - {field}
    column, limit = names.index(field), csv.field_size_limit(_LONGEST)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if row and len(row) != len(names):
                raise InputError(
                    f"expected {len(names)} cells in each row of {file}, found {len(row)} in the one that ends in line "
                    f"{first + reader.line_num}: put cells with a delimiter or line break in double quotes"
                )
            if row:
                yield row[column]
    except csv.Error as error:
        raise InputError(
            f"expected a table as CSV in {file}, found a mistake in line {first + reader.line_num} ({error}): "
            "put the cell in double quotes, and double those in it"
        ) from error
    finally:
        csv.field_size_limit(limit)


def _row(line: str, delimiter: str) -> list[str]:
    """The cells of the first row, without white space around names; its line breaks are those of no cell."""
    return [name.strip() for name in next(csv.reader(io.StringIO(line.rstrip("\r\n")), delimiter=delimiter), [])]
