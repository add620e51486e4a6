"""What the lines of the demo are tried on: a small run with four objectives, and small models of other families."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from utils.families import FAMILIES, SEQ2SEQ

import lm_objectives.demo.command  # noqa: F401 (registers the lines of the shipped objectives)
from lm_objectives import Backbone
from lm_objectives.demo.context import DemoContext, make_context
from lm_objectives.demo.generate import Sampling
from lm_objectives.objectives import Objective
from lm_objectives.training.run import load_run

TEXT = "The dog ran home. A cat sat away. My son came to the sea. One bird went to the hill."
ContextFor = Callable[..., DemoContext]


@pytest.fixture(scope="session")
def context(tiny_run: Path) -> DemoContext:
    return make_context(load_run(str(tiny_run)), TEXT, Sampling(tokens=8))


@pytest.fixture(scope="session")
def context_for(train: Any) -> ContextFor:
    """A context with a model of a family that learned some objectives for two steps."""

    def make(
        family: str, objectives: dict[str, Objective], text: str | None = TEXT, sampling: Sampling | None = None
    ) -> DemoContext:
        backbone = Backbone(family, (FAMILIES | SEQ2SEQ)[family])
        return make_context(load_run(str(train(backbone, objectives))), text, sampling or Sampling(tokens=8))

    return make
