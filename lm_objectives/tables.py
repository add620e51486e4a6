"""Tables as aligned text."""

from collections.abc import Sequence


def format_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align columns on the left, with a rule below the headings.

    >>> print(format_table(["objective", "loss"], [["causal", "4.360"], ["masked", "3.633"]]))
    objective  loss
    ---------  -----
    causal     4.360
    masked     3.633
    """
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    lines = [headings, ["-" * width for width in widths], *rows]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
