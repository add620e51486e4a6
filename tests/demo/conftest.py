"""What the exhibits are tried on: a small run with four objectives, and small models of other families."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from families import FAMILIES, SEQ2SEQ

from lm_objectives import Backbone
from lm_objectives.checkpoint import open_run
from lm_objectives.demo.sampling import Sampling
from lm_objectives.demo.stage import Stage, set_stage
from lm_objectives.objectives import Objective

TEXT = "The dog ran home. A cat sat away. My son came to the sea. One bird went to the hill."
StageFor = Callable[..., Stage]


@pytest.fixture(scope="session")
def stage(tiny_run: Path) -> Stage:
    return set_stage(open_run(str(tiny_run)), TEXT, Sampling(tokens=8))


@pytest.fixture(scope="session")
def stage_for(train: Any) -> StageFor:
    """A stage of a family that learned some objectives for two steps."""

    def make(
        family: str, objectives: dict[str, Objective], text: str | None = TEXT, sampling: Sampling | None = None
    ) -> Stage:
        backbone = Backbone(family, (FAMILIES | SEQ2SEQ)[family])
        return set_stage(open_run(str(train(backbone, objectives))), text, sampling or Sampling(tokens=8))

    return make
