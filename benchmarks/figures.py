"""The figures in README and docs, made anew by the commands that they are of.

    python benchmarks/figures.py                       all; about an hour and a half on two cores
    python benchmarks/figures.py prepare pairs         some
    python benchmarks/figures.py --check prepare       whether a page says what the command prints; changes nothing

A page's figures stand between `<!-- figures: NAME -->` and `<!-- end of figures -->`; what lies between is written by
the function of that name here. Those of a run are of its folder below --root: one that is there is not run again.
"""

import argparse
import csv
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from lm_objectives import TextDataModule
from lm_objectives.corruptions.sentence_order import SentenceOrderPairs
from lm_objectives.data.dataset import RowKey
from lm_objectives.data.plan import ObjectiveRows

ROOT = Path(__file__).parents[1]
QUICKSTART = ROOT / "configs" / "quickstart.yaml"
_BLOCK = "<!-- figures: {} -->\n(.*?)<!-- end of figures -->"


def command(*arguments: object) -> str:
    """What `lm-objectives` prints, in a process of its own."""
    return _printed(["-m", "lm_objectives", *map(str, arguments)])


def script(name: str, *arguments: object) -> str:
    """What a benchmark prints."""
    return _printed([str(ROOT / "benchmarks" / name), *map(str, arguments)])


def _printed(line: list[str]) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    return subprocess.run(
        [sys.executable, *line], stdout=subprocess.PIPE, text=True, check=True, env=environment
    ).stdout


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
    """The table that `validate` prints of the quickstart, in short; its curves go to docs/curves.png."""
    folder = quickstart(root)
    shutil.copy(folder / "curves.png", ROOT / "docs" / "curves.png")
    last = folder / "checkpoints" / "last.ckpt"
    printed = command("validate", "--config", folder / "config.yaml", "--ckpt_path", last)
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    speeds = [float(row["train/tokens_per_second"]) for row in rows if row["train/tokens_per_second"]]
    steps, minutes = int(rows[-1]["step"]) + 1, (folder / "minutes").read_text()
    said = (
        f"Two cores of a cloud machine took {minutes} minutes from the text to the last of {steps} steps, validation "
        f"included, and trained on {statistics.median(speeds):,.0f} tokens a second (`benchmarks/figures.py "
        "quickstart`). One seed, one small corpus: a check that all four learn.\n"
    )
    kept = [line for line in printed.splitlines() if line.split()[:1] not in (["perplexity"], ["f1"])]
    table = verbatim("\n".join(kept))
    return f"{table}\n{wrapped(said)}"


def pairs_of(root: Path) -> tuple[float, int]:
    """Of the quickstart's sentence-order rows: the share of padding in training, and how many pairs are held out."""
    data = yaml.safe_load(QUICKSTART.read_text(encoding="utf-8"))["data"]
    module = TextDataModule(**data, cache=str(root / "cache"))
    module.open({"order": ObjectiveRows(SentenceOrderPairs())})
    rows = module.training_rows()
    view = rows.__getitems__([RowKey("order", k) for k in range(4096)]).views["order"]
    held_out = SentenceOrderPairs().windows(
        module.text.validation.stream(SentenceOrderPairs()), module.seq_len, packing=False
    )
    return 1 - int(view.lengths.sum()) / view.input_ids.numel(), min(
        len(held_out), module.validation_rows or len(held_out)
    )


def pairs(root: Path) -> str:
    """What becomes of sentences in pairs."""
    padding, held_out = pairs_of(root)
    return wrapped(
        "- Sentences too long for the window and paragraphs of one sentence are left out; `prepare` says how many. "
        f"Rows are padded ({100 * padding:.0f} % on the shipped corpus at 128).\n"
        f"- One label for each row: held-out accuracies need many rows. {held_out:,} pairs have a standard deviation "
        f"of {50 / held_out**0.5:.1f} %.\n"
    )


def wrapped(text: str) -> str:
    """Paragraphs and items in lines as the pages have them."""
    filled = [textwrap.fill(line, 120, subsequent_indent="  " * line.startswith("- ")) for line in text.splitlines()]
    return "\n".join(filled) + "\n"


def shown(root: Path) -> str:
    """Of what `demo` shows of masked tokens the beginning of the text, and of the guesses."""
    printed = command("demo", "--ckpt_path", quickstart(root) / "checkpoints" / "last.ckpt")
    masked = next(part for part in re.split(r"\n\n(?=\w+ \(\w+\)\n)", printed) if part.startswith("masked "))
    lines = masked.splitlines()
    guesses = [line for line in lines if re.match(r" +\[\d+\] (hit|miss) ", line)]
    return verbatim("\n".join([*lines[:3], "  …", *guesses[:2]]))


def balancers(root: Path) -> str:
    """What a step costs under each balancer, over a step under Fixed."""
    del root
    sizes, ratios = [(128, 4), (128, 12), (128, 24)], dict[str, list[str]]()
    for width, layers in sizes:
        chosen = ["--balancers", "GradNorm"] if layers > 4 else []
        sized = ["--width", width, "--layers", layers, "--threads", 1, *chosen]
        printed = script("balancers.py", *sized)
        for name, ratio in re.findall(r"^(\w.*?) +[\d.]+ ms +([\d.]+) x Fixed", printed, re.MULTILINE):
            ratios.setdefault(name, []).append(f"{float(ratio):.2f}")
    heads = [f"width {width}, {layers} layers" for width, layers in sizes]
    lines = [["balancer", *heads], ["---"] * (1 + len(heads))]
    lines += [[name, *own, *[""] * (len(heads) - len(own))] for name, own in ratios.items() if name != "Fixed"]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def recipes(root: Path) -> str:
    """What each recipe learns in 200 steps."""
    return _of_recipes(root / "recipes", "--flags", "--trainer.max_steps 200 --trainer.val_check_interval 200")


def pairs_learned(root: Path) -> str:
    """What the recipes of sentence pairs learn in all of their steps."""
    return _of_recipes(root / "whole", "albert", "bert")


def _of_recipes(root: Path, *arguments: object) -> str:
    """The table of recipes below the line about the machine."""
    return script("recipes.py", *arguments, "--root", root, "--kept").split("\n\n", 1)[1]


FIGURES: dict[str, tuple[str, Callable[[Path], str]]] = {
    "prepare": ("docs/guides/your_own_text.md", prepared),
    "quickstart": ("README.md", scored),
    "demo": ("docs/getting_started.md", shown),
    "pairs": ("docs/objectives/sentence_order.md", pairs),
    "balancers": ("docs/balancers.md", balancers),
    "recipes": ("docs/recipes.md", recipes),
    "whole": ("docs/recipes.md", pairs_learned),
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
