"""The site's pages say what the package is: every file, every public name, every message that they explain."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import lm_objectives

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lm_objectives"
DOCS = ROOT / "docs"


def test_architecture_has_the_first_sentence_of_each_file() -> None:
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    found = dict(re.findall(r"^\| `([\w/]+\.py)` \| (.*) \|$", page, re.MULTILINE))
    expected = {}
    for path in PACKAGE.rglob("*.py"):
        if path.name != "__init__.py":
            docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            expected[path.relative_to(PACKAGE).as_posix()] = " ".join(docstring.split("\n\n")[0].split())
    assert found == expected


def test_the_reference_has_every_public_name() -> None:
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md"))
    assert sorted(re.findall(r"^::: lm_objectives\.(\w+)$", pages, re.MULTILINE)) == sorted(lm_objectives.__all__)


def test_each_objective_has_a_page_of_its_files_name() -> None:
    kinds = {path.stem for path in (PACKAGE / "corruptions").glob("*.py")} & {
        path.stem for path in (PACKAGE / "objectives").glob("*.py")
    }
    assert kinds - {"__init__", "base"} == {path.stem for path in (DOCS / "objectives").glob("*.md")} - {"README"}


@cache
def texts_of_the_package() -> str:
    return "\n".join(text for path in PACKAGE.rglob("*.py") for text in strings_of(path))


def strings_of(path: Path) -> list[str]:
    """Texts of a file, with … where a value stands."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            found.append("".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value.replace("%s", "…").replace("%d", "…"))
    return found


@pytest.mark.parametrize(
    "message", re.findall(r"^\| `(.+?)` \|", (DOCS / "troubleshooting.md").read_text(encoding="utf-8"), re.MULTILINE)
)
def test_a_message_that_is_explained_is_one_of_the_package(message: str) -> None:
    start = message.removeprefix("expected ").split(", found")[0].split(": did")[0]
    assert start in texts_of_the_package()


def test_the_page_of_studies_says_what_their_reports_say() -> None:
    page = (DOCS / "studies" / "README.md").read_text(encoding="utf-8")
    reports = "\n".join(path.read_text(encoding="utf-8") for path in (DOCS / "studies").glob("*/report.txt"))
    said = re.findall(r"by \d\.\d{3} nats \(\d\.\d{3} to \d\.\d{3}\)", page)
    assert len(said) >= 4 and all(verdict in reports for verdict in said)
