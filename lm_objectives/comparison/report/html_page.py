"""Write a report as one HTML file that needs nothing else: pictures lie in it, and there is no script."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from lm_objectives.comparison.report.blocks import Block, Bullets, Heading, Paragraph, Picture, Table

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }
th, td { text-align: left; padding: 0.2rem 0.8rem 0.2rem 0; border-bottom: 1px solid #ddd; white-space: nowrap; }
img { max-width: 100%; }
"""


def to_html(blocks: Sequence[Block], pictures: Mapping[str, bytes], title: str) -> str:
    """The report as a page.

    Args:
        blocks: in their order.
        pictures: PNGs by the names that the blocks call them.
        title: of the page.
    """
    head = f'<meta charset="utf-8">\n<title>{escape(title)}</title>\n<style>{_STYLE}</style>'
    body = "\n".join(_write(block, pictures) for block in blocks)
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'


def _write(block: Block, pictures: Mapping[str, bytes]) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{escape(text)}</h{level}>"
        case Paragraph(text):
            return f"<p>{escape(text)}</p>"
        case Bullets(lines):
            return f"<ul>\n{_each('li', lines)}\n</ul>"
        case Picture(name, shows):
            data = base64.b64encode(pictures[name]).decode()
            return f'<p><img alt="{escape(shows)}" src="data:image/png;base64,{data}"></p>'
        case Table(headings, rows):
            lines = "\n".join(f"<tr>{_each('td', row, '')}</tr>" for row in rows)
            head = f"<tr>{_each('th', headings, '')}</tr>"
            return f"<table>\n<thead>{head}</thead>\n<tbody>\n{lines}\n</tbody>\n</table>"


def _each(tag: str, texts: Iterable[str], between: str = "\n") -> str:
    return between.join(f"<{tag}>{escape(text)}</{tag}>" for text in texts)
