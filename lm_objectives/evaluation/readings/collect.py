"""All readings of a module's objectives, by name."""

from collections import Counter
from collections.abc import Mapping

from lm_objectives.evaluation.readings import (  # noqa: F401 - they register the readings of the shipped objectives
    causal_lm,
    masked_lm,
    prefix_lm,
    replaced_token,
    segment_pairs,
    span_denoising,
    text_denoising,
)
from lm_objectives.evaluation.readings.base import Reading
from lm_objectives.evaluation.readings.fused import fuse
from lm_objectives.evaluation.readings.registry import readings_of
from lm_objectives.objectives import Objective


def collect_readings(objectives: Mapping[str, Objective]) -> dict[str, Reading]:
    """The readings of objectives, and those that belong to two of them.

    Where several objectives have one of a name, each is called `reading:objective`.
    """
    own = {name: readings_of(objective) for name, objective in objectives.items()}
    times = Counter(reading for found in own.values() for reading in found)
    readings = {
        reading if times[reading] == 1 else f"{reading}:{name}": made
        for name, found in own.items()
        for reading, made in found.items()
    }
    return readings | fuse(readings)
