"""The table `metrics.csv`: a row for each set of numbers, readable at any moment."""

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lm_objectives.whole_file import atomic_write

Row = dict[str, Any]


class MetricsTable:
    """Rows of named numbers in a CSV file, columns in the order of the alphabet.

    A row is appended by one write; where it brings a new column, or rows are dropped, the table is written anew beside
    and renamed. So a process that dies leaves a whole table, at worst with the start of a row at its end, which is not
    read again.

    Args:
        path: the file, made with the first row.

    Attributes:
        rows: that this process has written or kept.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.rows = path, 0
        self._columns: list[str] = []

    def read(self) -> list[Row]:
        """The rows, each with the columns that it fills."""
        if not self.path.is_file():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            lines = [line for line in file if line.endswith("\n")]
        return [{key: value for key, value in row.items() if value} for row in csv.DictReader(lines)]

    def keep(self, keeps: Callable[[int, Row], bool]) -> None:
        """Drop the rows for which `keeps`, given a row's number and the row, is false."""
        if self.path.is_file():
            self._write([row for number, row in enumerate(self.read()) if keeps(number, row)])

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row."""
        if not row.keys() <= set(self._columns) or not self.path.is_file():
            self._write([*self.read(), dict(row)])
            return
        with self.path.open("ab", buffering=0) as file:
            file.write(_lines([row], self._columns))
        self.rows += 1

    def _write(self, rows: list[Row]) -> None:
        self._columns = sorted({key for row in rows for key in row})
        header: Row = {name: name for name in self._columns}
        with atomic_write(self.path) as file:
            file.write(_lines([header, *rows], self._columns))
        self.rows = len(rows)


def _lines(rows: list[Any], columns: list[str]) -> bytes:
    text = io.StringIO()
    csv.DictWriter(text, columns, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
