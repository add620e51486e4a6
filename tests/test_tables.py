"""Tables as aligned text."""

import pytest

from lm_objectives.tables import format_table


def test_columns_are_as_wide_as_their_widest_cell_and_no_line_ends_in_spaces() -> None:
    table = format_table(("a", "long heading", "c"), [("wide cell", "b", ""), ("", "b", "cc")])
    assert table.splitlines() == [
        "a          long heading  c",
        "---------  ------------  --",
        "wide cell  b",
        "           b             cc",
    ]


def test_headings_alone_and_rows_of_another_length() -> None:
    assert format_table(["one", "two"], []) == "one  two\n---  ---"
    with pytest.raises(ValueError):
        format_table(["one", "two"], [["1"]])
