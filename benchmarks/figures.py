"""The figures in README and docs, made anew by the commands that they are of.

    python benchmarks/figures.py                       all; about an hour on two cores
    python benchmarks/figures.py prepare pairs         some
    python benchmarks/figures.py --check prepare       whether a page says what the command prints; changes nothing

A page's figures stand between `<!-- figures: NAME -->` and `<!-- end of figures -->`; what lies between is written by
the function of that name here. Those of a run are of its folder below --root: one that is there is not run again.
"""

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
QUICKSTART = ROOT / "configs" / "quickstart.yaml"
_BLOCK = "<!-- figures: {} -->\n(.*?)<!-- end of figures -->"


def command(*arguments: object) -> str:
    """What `lm-objectives` prints, in a process of its own."""
    line = [sys.executable, "-m", "lm_objectives", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    return subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout


def verbatim(text: str) -> str:
    """A block of text in Markdown."""
    return f"```text\n{text.strip()}\n```\n"


def prepared(root: Path) -> str:
    """What `prepare` prints of the shipped corpus; where the cache lies and how long it took are of the machine."""
    del root
    with tempfile.TemporaryDirectory() as cache:
        printed = command("prepare", "--config", QUICKSTART, "--data.cache", cache)
    lines = [line for line in printed.splitlines() if not line.startswith(("cache ", "took "))]
    return verbatim("\n".join(lines))


def quickstart(root: Path) -> Path:
    """The folder of the quickstart's run, which also knows how long it took."""
    folder = root / "quickstart"
    if not (folder / "minutes").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        started = time.monotonic()
        command("fit", "--config", QUICKSTART, "--trainer.default_root_dir", folder)
        (folder / "minutes").write_text(f"{(time.monotonic() - started) / 60:.1f}")
    return folder


def scored(root: Path) -> str:
    """The table that `validate` prints of the quickstart; its curves go to docs/curves.png."""
    folder = quickstart(root)
    shutil.copy(folder / "curves.png", ROOT / "docs" / "curves.png")
    last = folder / "checkpoints" / "last.ckpt"
    return verbatim(command("validate", "--config", folder / "config.yaml", "--ckpt_path", last))


def shown(root: Path) -> str:
    """What `demo` shows of masked and of replaced tokens."""
    printed = command("demo", "--ckpt_path", quickstart(root) / "checkpoints" / "last.ckpt")
    parts = re.split(r"\n\n(?=\w+ \(\w+\)\n)", printed)
    return verbatim("\n\n".join(part for part in parts if part.startswith(("masked ", "replaced "))))


def recipes(root: Path) -> str:
    """What each recipe learned, and on which machine."""
    line = [sys.executable, ROOT / "benchmarks" / "recipes.py", "--root", root / "recipes", "--kept"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    printed = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout
    return printed.split("\n\n", 1)[1]


FIGURES: dict[str, tuple[str, Callable[[Path], str]]] = {
    "prepare": ("README.md", prepared),
    "quickstart": ("README.md", scored),
    "demo": ("README.md", shown),
    "recipes": ("docs/recipes.md", recipes),
}
"""For each name the page, and what makes its figures."""


def stands(name: str) -> str:
    """The figures as the page has them."""
    page = (ROOT / FIGURES[name][0]).read_text(encoding="utf-8")
    found = re.search(_BLOCK.format(name), page, re.DOTALL)
    if found is None:
        raise ValueError(f"expected figures {name} in {FIGURES[name][0]}, found none: mark their place there")
    return found[1]


def write(name: str, text: str) -> None:
    """Put figures in their place."""
    path = ROOT / FIGURES[name][0]
    page = path.read_text(encoding="utf-8")
    path.write_text(page.replace(f"<!-- figures: {name} -->\n{stands(name)}", f"<!-- figures: {name} -->\n{text}"))


def main() -> None:
    """Make figures, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="name", help=f"by default all: {', '.join(FIGURES)}")
    parser.add_argument("--check", action="store_true", help="compare, and exit with 1 where a page says otherwise")
    parser.add_argument("--root", type=Path, default=Path("runs/figures"), help="where the runs' folders go")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(FIGURES):
        parser.error(f"expected figures among {', '.join(FIGURES)}, found {', '.join(sorted(unknown))}")
    different = []
    print(f"{platform.machine()}, {os.cpu_count()} cores, {platform.platform()}")
    for name in arguments.names or FIGURES:
        text = FIGURES[name][1](arguments.root.absolute())
        if text != stands(name):
            different.append(name)
            if not arguments.check:
                write(name, text)
        print(f"{name}: {FIGURES[name][0]} {'differs' if name in different else 'says so'}", flush=True)
    sys.exit(bool(different) and arguments.check)


if __name__ == "__main__":
    main()
