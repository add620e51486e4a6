"""How long a run of masked units is and where it may stand: the published distributions, as plain data."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import numpy as np

from lm_objectives.corruptions.random import uniform
from lm_objectives.errors import InputError
from lm_objectives.plugin import Plugin

Placement = Literal["overlapping", "disjoint", "tiling"]
"""Where runs may stand in a row of units; they come one after another until as many units as wanted are in runs.

- "overlapping": a run starts at any unit, each as likely but only once, may go into another run, and is cut by the
  row's end (SpanBERT's and fairseq's BART code).
- "disjoint": the same, but a run that would go into an earlier one is left out, and a length that would go beyond the
  row's end is not drawn (ALBERT's code).
- "tiling": runs cover the whole row from its first unit on, the last one cut by its end, and some of them are taken,
  each as likely (GPT-BERT's code).
"""


class SpanLengths(Plugin, ABC):
    """A distribution over the lengths of runs; equal ones give the same chances and the same placement."""

    placement: ClassVar[Placement] = "overlapping"

    @abstractmethod
    def probabilities(self) -> np.ndarray:
        """Chances of runs of 0, 1, 2, … units, `(lengths,)`, at least 0, with a sum above 0."""

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, SpanLengths)
            and self.placement == other.placement
            and np.array_equal(self.probabilities(), other.probabilities())
        )

    def __hash__(self) -> int:
        return hash((self.placement, self.probabilities().tobytes()))


def sample_lengths(lengths: SpanLengths, bits: np.ndarray, least: int, most: np.ndarray | None = None) -> np.ndarray:
    """A length from each 64 random bits, by inverse CDF.

    Args:
        lengths: the distribution, conditioned on the lengths that are allowed.
        bits: of any shape.
        least: the shortest that is allowed.
        most: the longest, of the shape of `bits`; where no length of the distribution is as short, it is `most` itself.
    """
    chances = lengths.probabilities()
    cumulative = np.cumsum(np.where(np.arange(len(chances)) < least, 0.0, chances))
    cumulative = (cumulative / cumulative[-1]).astype(np.float32)  # as the uniform numbers, or searching takes twice
    if most is None:
        return np.searchsorted(cumulative, uniform(bits), side="right")
    reach = cumulative[np.minimum(most, len(chances) - 1)]
    return np.minimum(np.searchsorted(cumulative, uniform(bits) * reach, side="right"), most)


class Geometric(SpanLengths):
    """P(n) ∝ p (1 - p)^(n - 1) for n from 1 to `longest`: SpanBERT (Joshi et al. 2020, section 3.1).

    Args:
        p: chance that a run ends after each unit, in (0, 1]; the mean of the defaults is 3.8 units.
        longest: units of the longest run, at least 1.
    """

    def __init__(self, p: float = 0.2, longest: int = 10) -> None:
        if not 0 < p <= 1:
            raise InputError(f"expected p above 0 and at most 1 for Geometric, found {p}: 0.2 is SpanBERT's")
        _check_longest("Geometric", longest, 10)
        self.p, self.longest = p, longest

    def probabilities(self) -> np.ndarray:
        chances = np.append(0.0, self.p * (1 - self.p) ** np.arange(self.longest))
        return chances / chances.sum()


class Poisson(SpanLengths):
    """P(n) = e^-mean mean^n / n! for n from 0: BART (Lewis et al. 2020, section 2.2).

    Conditioned on the lengths that a use allows: masking has no runs of 0 units, infilling has. What lies beyond ten
    standard deviations, of a chance under 1e-12, is left out.

    Args:
        mean: units of a run on average, runs of 0 among them, above 0.
    """

    def __init__(self, mean: float = 3.0) -> None:
        if not 0 < mean <= 1000:
            raise InputError(f"expected a mean above 0 and at most 1000 for Poisson, found {mean}: 3.0 is BART's")
        self.mean = mean

    def probabilities(self) -> np.ndarray:
        n = np.arange(1, int(self.mean + 10 * np.sqrt(self.mean)) + 15)
        chances = np.exp(np.append(0.0, np.cumsum(np.log(self.mean / n))) - self.mean)
        return chances / chances.sum()


class Uniform(SpanLengths):
    """Every length from `shortest` to `longest` as likely: 1 to 3 in GPT-BERT (Charpentier and Samuel 2024, section 2).

    Args:
        shortest: units of the shortest run, at least 1.
        longest: units of the longest, at least `shortest`.
    """

    placement: ClassVar[Placement] = "tiling"

    def __init__(self, shortest: int = 1, longest: int = 3) -> None:
        if not 1 <= shortest <= longest:
            raise InputError(
                f"expected shortest of at least 1 and at most longest for Uniform, found {shortest} and {longest}: "
                "GPT-BERT's are 1 and 3"
            )
        self.shortest, self.longest = shortest, longest

    def probabilities(self) -> np.ndarray:
        allowed = np.arange(self.longest + 1) >= self.shortest
        return allowed / allowed.sum()


class NGram(SpanLengths):
    """P(n) = (1 / n) / Σ (1 / k) for n from 1 to `longest`: ALBERT (Lan et al. 2020, section 4.1).

    Args:
        longest: units of the longest run, at least 1.
    """

    placement: ClassVar[Placement] = "disjoint"

    def __init__(self, longest: int = 3) -> None:
        _check_longest("NGram", longest, 3)
        self.longest = longest

    def probabilities(self) -> np.ndarray:
        chances = np.append(0.0, 1 / np.arange(1, self.longest + 1))
        return chances / chances.sum()


def _check_longest(name: str, longest: int, published: int) -> None:
    if longest < 1:
        raise InputError(f"expected longest of at least 1 for {name}, found {longest}: {published} is as published")
