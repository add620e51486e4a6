"""The recipes, and what they describe made from Python."""

import contextlib
import io
from pathlib import Path
from typing import Any

import yaml

from lm_objectives import Backbone, Pretraining
from lm_objectives.__main__ import main
from lm_objectives.plugin import from_config

CONFIGS = Path(__file__).parents[2] / "configs"
RECIPES = {path.stem: path for path in sorted((CONFIGS / "recipes").glob("*.yaml"))}
PUBLISHED = {path.stem: path for path in sorted((CONFIGS / "recipes" / "published").glob("*.yaml"))}


def settings(*configs: Path) -> dict[str, Any]:
    """All settings of a run with these configurations, the later over the earlier, as the command line reads them."""
    arguments = [argument for path in configs for argument in ("--config", str(path))]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main(["fit", *arguments, "--print_config"])
    return yaml.safe_load(printed.getvalue())


def module_of(model: dict[str, Any]) -> Pretraining:
    """The module of the settings below `model`, trained by its default optimizer."""
    return Pretraining(Backbone(**model["backbone"]), from_config(model["objectives"]), from_config(model["balancer"]))
