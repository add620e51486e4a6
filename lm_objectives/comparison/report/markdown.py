"""Write a report as Markdown that GitHub shows as it is."""

from collections.abc import Sequence

from lm_objectives.comparison.report.blocks import Block, Bullets, Heading, Paragraph, Picture, Table


def to_markdown(blocks: Sequence[Block], folder: str) -> str:
    """The report as Markdown.

    >>> print(to_markdown([Heading("Cost"), Table(("arm", "runs"), [("mixed", "5")])], "figures"))
    ## Cost
    <BLANKLINE>
    | arm | runs |
    |---|---|
    | mixed | 5 |
    <BLANKLINE>

    Args:
        blocks: in their order.
        folder: of the pictures, from the report's.
    """
    return "\n\n".join(_write(block, folder) for block in blocks) + "\n"


def _write(block: Block, folder: str) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {_escape(text)}"
        case Paragraph(text):
            return _escape(text)
        case Bullets(lines):
            return "\n".join(f"- {_escape(line)}" for line in lines)
        case Picture(name, shows):
            return f"![{_escape(shows)}]({folder}/{name})"
        case Table(headings, rows):
            return "\n".join([_row(headings), "|---" * len(headings) + "|", *map(_row, rows)])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_escape, cells))} |"


def _escape(text: str) -> str:
    """Text in which nothing is taken for a tag, a cell's end or emphasis."""
    for sign in "\\`*|":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("\n", " ")
