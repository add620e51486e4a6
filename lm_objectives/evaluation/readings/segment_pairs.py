"""The readings of pairs of segments, which score no text: whether they stand in order, or follow one another."""

from lm_objectives.evaluation.readings.base import Reading
from lm_objectives.evaluation.readings.registry import readings_of
from lm_objectives.objectives import NextSentence, SentenceOrder


class PairReading(Reading):
    """The class of a held-out pair of segments, as the objective was trained to tell it."""

    held_out = "metrics"


@readings_of.register
def _(objective: SentenceOrder) -> dict[str, Reading]:
    return {"order": PairReading(objective)}


@readings_of.register
def _(objective: NextSentence) -> dict[str, Reading]:
    return {"next": PairReading(objective)}
