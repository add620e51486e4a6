"""What each recipe learns as it stands, from the command line: `fit`, then `validate`.

    python benchmarks/recipes.py                                         all of them, one after the other
    python benchmarks/recipes.py bert t5 --threads 1                     some
    python benchmarks/recipes.py gpt --flags "--trainer.max_steps 20 --trainer.val_check_interval 20"

Prints a table in Markdown: what a model reached on documents that were held out, and what is reached without a model.
Losses are nats per scored position, and of next tokens bits per byte of the text too.
"""

import argparse
import csv
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from lm_objectives.checkpoint import open_run
from lm_objectives.data.cache import open_cache
from lm_objectives.objectives import CausalLM

RECIPES = {path.stem: path for path in sorted(Path(__file__).parents[1].glob("configs/recipes/*.yaml"))}
COLUMNS = ("recipe", "parameters", "steps", "minutes", "tokens/s", "objective", "metric", "model", "without a model")


def command(threads: int, *arguments: object) -> str:
    """What a command prints, in a process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    line = [sys.executable, "-m", "lm_objectives", *map(str, arguments)]
    return subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout


def held_out(printed: str) -> Iterator[list[str]]:
    """Objective, metric, value and yardsticks of each line of the table that `validate` prints."""
    objective = ""
    for line in printed.rstrip().splitlines()[2:]:
        cells = [*re.split(r" {2,}", line), ""][:4]
        objective = cells[0] or objective
        yield [objective, *cells[1:]]


def lines_of(name: str, folder: Path, threads: int, flags: list[str]) -> Iterator[list[str]]:
    """Train and score one recipe; a line for each number, the first of them with what the run was."""
    begun = time.monotonic()
    command(threads, "fit", "--config", RECIPES[name], "--trainer.default_root_dir", folder, *flags)
    minutes = (time.monotonic() - begun) / 60
    checkpoint = folder / "checkpoints" / "last.ckpt"
    scored = ["--config", folder / "config.yaml", "--ckpt_path", checkpoint, "--data.validation_rows", 0]
    printed = command(threads, "validate", *scored)
    run = open_run(str(checkpoint))
    parameters = sum(parameter.numel() for parameter in run.module.parameters())
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        speeds = [
            float(row["train/tokens_per_second"]) for row in csv.DictReader(file) if row["train/tokens_per_second"]
        ]
    speed = f"{statistics.median(speeds):,.0f}"
    first = [f"`{name}`", f"{parameters / 1e6:.2f} M", str(run.module.steps), f"{minutes:.1f}", speed]
    for objective, metric, value, beside in held_out(printed):
        yield [*first, objective, metric, value, beside]
        first = [""] * len(first)
        if isinstance(run.module.objectives[objective], CausalLM) and metric == "loss (nats)":
            unigram = re.search(r"unigram ([\d.]+)", beside)
            assert unigram is not None and run.cache is not None
            bits, plain = (f"{open_cache(run.cache).bits_per_byte(float(nats)):.3f}" for nats in (value, unigram[1]))
            yield [*first, objective, "bits per byte", bits, f"unigram {plain}"]


def main() -> None:
    """Print the table, each recipe as soon as it is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", metavar="recipe", help=f"by default all: {', '.join(RECIPES)}")
    parser.add_argument("--root", type=Path, default=Path("runs/recipes"), help="where the runs' folders go")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    parser.add_argument("--flags", type=shlex.split, default=[], help="settings for each `fit`, in quotes")
    arguments = parser.parse_args()
    if unknown := set(arguments.recipes) - set(RECIPES):
        parser.error(f"expected recipes among {', '.join(RECIPES)}, found {', '.join(sorted(unknown))}")
    print(f"{platform.machine()}, {arguments.threads} threads, {platform.platform()}\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for name in arguments.recipes or RECIPES:
        for cells in lines_of(name, arguments.root / name, arguments.threads, arguments.flags):
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
