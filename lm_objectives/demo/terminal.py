"""Lines for a terminal: no wider than it is, their verdicts in color."""

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Sequence

_WIDEST = 110  # columns that are read with ease
_COLORS = {"hit": 32, "miss": 31, "alarm": 33}  # as ANSI numbers them
_VERDICT = re.compile(r"^( +(?:(?:\[\d+\]|<extra_id_\d+>) +)?)(hit|miss|alarm)\b")


def wrap(text: str) -> list[str]:
    """Lines no wider than the terminal, indented."""
    return textwrap.wrap(text, _width(), initial_indent="  ", subsequent_indent="    ")


def list_items(head: str, items: Sequence[str]) -> list[str]:
    """A head and some items two spaces apart; those that the width does not hold go on below the first.

    head  one  two
          three
    """
    room = max(_width() - len(head), 1)
    lines: list[str] = []
    for item in items:
        if lines and len(lines[-1]) + 2 + len(item) <= room:
            lines[-1] += f"  {item}"
        else:
            lines += textwrap.wrap(item, room, subsequent_indent="  ") if len(item) > room > 20 else [item]
    return [f"{head if not number else ' ' * len(head)}{line}" for number, line in enumerate(lines)]


def color_verdict(line: str) -> str:
    """The line with its verdict in color, on a terminal that wants it."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return line
    return _VERDICT.sub(lambda found: f"{found[1]}\033[{_COLORS[found[2]]}m{found[2]}\033[0m", line)


def _width() -> int:
    return min(shutil.get_terminal_size().columns, _WIDEST)
