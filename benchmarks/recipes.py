"""What each recipe learns as it stands, from the command line: `fit`, then `validate`.

    python benchmarks/recipes.py                                         all of them, one after the other
    python benchmarks/recipes.py bert t5 --threads 1                     some
    python benchmarks/recipes.py gpt --flags "--trainer.max_steps 20 --trainer.val_check_interval 20"

Prints a table in Markdown: what a model reached on documents that were held out, and the best that a constant does.
Losses are nats per scored position, and of next tokens bits per byte of the text too. With --kept a recipe whose folder
has a whole run is scored, and not trained again.
"""

import argparse
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from lm_objectives.data.cache import open_cache
from lm_objectives.objectives import CausalLM
from lm_objectives.training.run import load_run

RECIPES = {path.stem: path for path in sorted(Path(__file__).parents[1].glob("configs/recipes/*.yaml"))}
COLUMNS = ("recipe", "parameters", "steps", "objective", "held-out loss", "baseline", "besides")


def command(threads: int, *arguments: object) -> str:
    """What a command prints, in a process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    line = [sys.executable, "-m", "lm_objectives", *map(str, arguments)]
    return subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout


def held_out(printed: str) -> dict[str, dict[str, tuple[str, str]]]:
    """Value and baseline of each metric of each objective, from the table that `validate` prints."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    objective = ""
    for line in printed.rstrip().splitlines()[2:]:
        name, metric, value, baseline = [*re.split(r" {2,}", line), ""][:4]
        objective = name or objective
        found.setdefault(objective, {})[metric.removesuffix(" (nats)")] = value, baseline
    return found


def besides(metrics: dict[str, tuple[str, str]], bits: Callable[[float], float] | None) -> str:
    """What else is worth reading of an objective: bits per byte of next tokens, how often pairs are right, AUC.

    Args:
        metrics: as in `held_out`.
        bits: bits per byte of a loss over all tokens of a text.
    """
    loss, baseline = metrics["loss"]
    if bits is not None:
        unigram = re.search(r"unigram ([\d.]+)", baseline)
        assert unigram is not None
        return f"{bits(float(loss)):.3f} bits per byte (unigram {bits(float(unigram[1])):.3f})"
    if "auc" in metrics:
        return f"AUC {metrics['auc'][0]}; generator {metrics['generator'][0]} ({metrics['generator'][1]})"
    if "accuracy" in metrics and "perplexity" not in metrics:
        value, majority = metrics["accuracy"]
        return f"right {float(value):.1%} ({majority})"
    return ""


def lines_of(name: str, folder: Path, threads: int, flags: list[str], kept: bool) -> Iterator[list[str]]:
    """Train and score one recipe; a line for each objective, the first of them with what the run was."""
    checkpoint, whole = folder / "checkpoints" / "last.ckpt", folder / "whole"
    if not (kept and whole.is_file()):
        command(threads, "fit", "--config", RECIPES[name], "--trainer.default_root_dir", folder, *flags)
        whole.touch()
    scored = ["--config", folder / "config.yaml", "--ckpt_path", checkpoint, "--data.validation_rows", 0]
    printed = command(threads, "validate", *scored)
    run = load_run(str(checkpoint))
    assert run.cache is not None
    parameters = sum(parameter.numel() for parameter in run.module.parameters())
    first = [f"`{name}`", f"{parameters / 1e6:.2f} M", str(run.module.steps)]
    for objective, metrics in held_out(printed).items():
        causal = isinstance(run.module.objectives[objective], CausalLM)
        bits = open_cache(run.cache).bits_per_byte if causal else None
        loss, baseline = metrics["discriminator" if "discriminator" in metrics else "loss"]
        yield [*first, f"`{objective}`", loss, baseline, besides(metrics, bits)]
        first = [""] * len(first)


def main() -> None:
    """Print the table, each recipe as soon as it is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", metavar="recipe", help=f"by default all: {', '.join(RECIPES)}")
    parser.add_argument("--root", type=Path, default=Path("runs/recipes"), help="where the runs' folders go")
    parser.add_argument("--kept", action="store_true", help="score whole runs that are there instead of training anew")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    parser.add_argument("--flags", type=shlex.split, default=[], help="settings for each `fit`, in quotes")
    arguments = parser.parse_args()
    if unknown := set(arguments.recipes) - set(RECIPES):
        parser.error(f"expected recipes among {', '.join(RECIPES)}, found {', '.join(sorted(unknown))}")
    print(f"{platform.machine()}, {arguments.threads} threads, {platform.platform()}\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for name in arguments.recipes or RECIPES:
        for cells in lines_of(name, arguments.root / name, arguments.threads, arguments.flags, arguments.kept):
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
