"""The studies in docs/studies/, carried out by their command, and their reports put there.

    python benchmarks/studies.py one_plus_one                     up to an hour on two cores; goes on where it stopped
    python benchmarks/studies.py one_plus_one --root elsewhere    where its folder studies/one_plus_one is made

Of a study's folder report.md, figures/ and results.json are copied; report.txt is what the command prints at its end.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAMES = sorted(path.stem for path in (ROOT / "configs" / "studies").glob("*.yaml") if path.stem != "first")


def main() -> None:
    """Carry out each study that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=NAMES, metavar="name", help=", ".join(NAMES))
    parser.add_argument("--root", type=Path, default=Path("runs"), help="where the studies' folders go")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    arguments = parser.parse_args()
    arguments.root.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for name in arguments.names:
        line = [sys.executable, "-m", "lm_objectives", "compare", name]
        subprocess.run([*line, "--jobs", str(arguments.jobs)], check=True, cwd=arguments.root, env=environment)
        told = subprocess.run(
            [*line, "--report"], check=True, cwd=arguments.root, env=environment, stdout=subprocess.PIPE, text=True
        )
        made, page = arguments.root / "studies" / name, ROOT / "docs" / "studies" / name
        page.mkdir(parents=True, exist_ok=True)
        (page / "report.txt").write_text(told.stdout, encoding="utf-8")
        for file in ("report.md", "results.json"):
            shutil.copy(made / file, page)
        shutil.rmtree(page / "figures", ignore_errors=True)
        shutil.copytree(made / "figures", page / "figures")


if __name__ == "__main__":
    main()
