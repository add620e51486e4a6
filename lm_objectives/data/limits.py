"""Ranges of the data module's numbers, told before any text is read."""

from collections.abc import Sequence

from lm_objectives.data.preparation.split import check_validation_share
from lm_objectives.errors import expect
from lm_objectives.ranges import is_within

_RANGES: dict[str, tuple[int, int]] = {
    "global_batch_size": (1, 2**31 - 1),
    "batch_multiple": (1, 2**31 - 1),
    "num_workers": (0, 1024),
    "validation_rows": (0, 2**31 - 1),
    "corpus_cap": (1, 2**62),
}


def check_counts(**counts: int | None) -> None:
    """Raise for a count that no training could have; `None` leaves one to its default."""
    for name, value in counts.items():
        least, most = _RANGES[name]
        expected = f"data.{name} from {least} to {most}"
        expect(value is None or is_within(value, least, most), expected, value, "change it")


def check_mixing(weights: Sequence[float] | None, temperature: float | None, validation_share: float) -> None:
    """Raise for numbers by which no corpora could be mixed, or held out."""
    valid = weights is None or all(is_within(weight, 0) for weight in weights)
    expect(valid, "finite data.corpus_weights of at least 0", weights, "0 leaves a corpus out")
    valid = temperature is None or (is_within(temperature, 0) and temperature > 0)
    expect(valid, "a finite data.corpus_temperature above 0", temperature, "1 mixes in proportion to the text")
    check_validation_share(validation_share)
