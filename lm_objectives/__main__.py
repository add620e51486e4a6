"""The command `lm-objectives`: imports what a command needs only when it runs."""

import os
import signal
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module, metadata
from pathlib import Path

COMMANDS = {
    "fit": "train objectives together; --help lists every setting, --print_config writes them as YAML",
    "prepare": "read, split and tokenize a corpus, as fit does by itself, and print a summary",
    "validate": "score a checkpoint on held-out documents, next to baselines",
    "evaluate": "score a checkpoint, or a folder of transformers, on tasks by every way of reading that it has",
    "compare": "train the arms of a study over several seeds at equal compute, and say what they show",
    "demo": "show what each objective of a checkpoint has learned",
    "export": "write a checkpoint as Hugging Face folders",
    "configs": "list the shipped configurations, or copy one out: configs quickstart --output mine.yaml",
}

USAGE = """usage: lm-objectives COMMAND [options]

Multi-objective language-model pretraining: one backbone, many objectives, one honest total.

commands:
{commands}

lm-objectives COMMAND --help explains a command. Losses are in nats per scored position.

examples:
  lm-objectives prepare --config configs/quickstart.yaml --data.corpus my_texts
  lm-objectives fit --config configs/quickstart.yaml
  lm-objectives fit --config configs/quickstart.yaml --model.balancer GradNorm
  lm-objectives validate --config runs/quickstart/config.yaml --ckpt_path runs/quickstart/checkpoints/last.ckpt
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code is 2 where the input was wrong."""
    try:
        code = _run(sys.argv[1:] if arguments is None else list(arguments))
        sys.stdout.flush()
    except KeyboardInterrupt:  # while a command is imported
        return 128 + signal.SIGINT
    except BrokenPipeError:  # whoever reads has had enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    return code


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        commands = "\n".join(f"  {name:<10}{text}" for name, text in COMMANDS.items())
        print(USAGE.format(commands=commands), end="")
        return 0
    if arguments[0] == "--version":
        print(f"lm-objectives {metadata.version('lm-objectives')}")
        return 0
    if arguments[0] not in COMMANDS:
        near = get_close_matches(arguments[0], COMMANDS, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
        print(f"lm-objectives: error: expected a command, found {arguments[0]!r}: {hint}", file=sys.stderr)
        return 2
    if wrong := _outside_bounds():
        print(f"lm-objectives: error: {wrong}", file=sys.stderr)
        return 2
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # a user's own objectives and balancers, by import path
    return import_module("lm_objectives.cli.main").run(arguments)


def _outside_bounds() -> str | None:
    """The first dependency whose installed version is not one that the package is made for, in one line."""
    from packaging.requirements import Requirement

    for text in metadata.requires("lm-objectives") or ():
        needed = Requirement(text)
        if needed.marker is None or needed.marker.evaluate({"extra": ""}):
            try:
                found = metadata.version(needed.name)
            except metadata.PackageNotFoundError:
                found = "none"
            if found == "none" or not needed.specifier.contains(found, prereleases=True):
                mend = f'pip install "{needed.name}{needed.specifier}"'
                return f"expected {needed.name} {needed.specifier}, found {found}: {mend}"
    return None


if __name__ == "__main__":
    sys.exit(main())
