"""Distributions of the lengths of masked spans, and where spans may lie: the published ones, as plain data."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np

from lm_objectives.corruptions.random import uniform
from lm_objectives.errors import expect
from lm_objectives.plugin import Plugin

Placement = Literal["overlapping", "disjoint", "tiling"]
"""Where spans may lie in a row of units; they come one after another until as many units as wanted are in spans.

- "overlapping": a span starts at any unit, each as likely but only once, may go into another span, and is cut by the
  row's end (SpanBERT's and fairseq's BART code).
- "disjoint": the same, but a span that would go into an earlier one is left out, and a length that would go beyond the
  row's end is not drawn (ALBERT's code).
- "tiling": spans cover the whole row from its first unit on, the last one cut by its end, and some of them are taken,
  each as likely (GPT-BERT's code).
"""


class SpanLengths(Plugin, ABC):
    """A distribution over the lengths of spans. Hashable and never changed: make your own a frozen dataclass."""

    placement: ClassVar[Placement] = "overlapping"

    @abstractmethod
    def probabilities(self) -> np.ndarray:
        """Chances of spans of 0, 1, 2, … units, `(lengths,)`, at least 0, with a sum above 0."""


@lru_cache(maxsize=32)
def length_moments(lengths: SpanLengths, least: int) -> tuple[float, float]:
    """Mean and standard deviation of lengths of at least `least`."""
    chances = lengths.probabilities()
    n = np.arange(len(chances))
    expected = f"spans of at least {least} units from {type(lengths).__name__}"
    expect(bool(chances[least:].sum() > 0), expected, "none with a chance", "give its probabilities some beyond 0")
    chances = chances * (n >= least) / chances[least:].sum()
    mean = chances @ n
    return float(mean), float(np.sqrt(chances @ (n - mean) ** 2))


@lru_cache(maxsize=32)
def _cumulative(lengths: SpanLengths, least: int) -> np.ndarray:
    chances = lengths.probabilities()
    sums = np.cumsum(np.where(np.arange(len(chances)) < least, 0.0, chances))
    return (sums / sums[-1]).astype(np.float32)  # as the uniform numbers, or searching takes twice as long


def sample_lengths(lengths: SpanLengths, bits: np.ndarray, least: int, most: np.ndarray | None = None) -> np.ndarray:
    """A length from each 64 random bits, by inverse CDF.

    Args:
        lengths: the distribution, conditioned on the lengths that are allowed.
        bits: of any shape.
        least: the shortest that is allowed.
        most: the longest, of the shape of `bits`; where no length of the distribution is as short, it is `most` itself.
    """
    cumulative = _cumulative(lengths, least)
    if most is None:
        return np.searchsorted(cumulative, uniform(bits), side="right")
    reach = cumulative[np.minimum(most, len(cumulative) - 1)]
    return np.minimum(np.searchsorted(cumulative, uniform(bits) * reach, side="right"), most)


@dataclass(frozen=True)
class Geometric(SpanLengths):
    """P(n) ∝ p (1 - p)^(n - 1) for n from 1 to `longest`: SpanBERT (Joshi et al. 2020, section 3.1).

    >>> from lm_objectives import Geometric
    >>> Geometric(p=0.5, longest=3).probabilities().round(3).tolist()
    [0.0, 0.571, 0.286, 0.143]

    Args:
        p: chance that a span ends after each unit, in (0, 1]; the mean of the defaults is 3.8 units.
        longest: units of the longest span, at least 1.
    """

    p: float = 0.2
    longest: int = 10

    def __post_init__(self) -> None:
        expect(0 < self.p <= 1, "p above 0 and at most 1 for Geometric", self.p, "0.2 is SpanBERT's")
        expect(1 <= self.longest <= 1000, "longest from 1 to 1000 for Geometric", self.longest, "10 is as published")

    def probabilities(self) -> np.ndarray:
        chances = np.append(0.0, self.p * (1 - self.p) ** np.arange(self.longest))
        return chances / chances.sum()


@dataclass(frozen=True)
class Poisson(SpanLengths):
    """P(n) = e^-mean mean^n / n! for n from 0: BART (Lewis et al. 2020, section 2.2).

    Conditioned on the lengths that a use allows: masking has no spans of 0 units, infilling has. What lies beyond ten
    standard deviations, of a chance under 1e-12, is left out.

    >>> from lm_objectives import Poisson
    >>> Poisson(mean=3.0).probabilities()[:4].round(3).tolist()
    [0.05, 0.149, 0.224, 0.224]

    Args:
        mean: units of a span on average, spans of 0 among them, above 0.
    """

    mean: float = 3.0

    def __post_init__(self) -> None:
        expect(0 < self.mean <= 1000, "a mean above 0 and at most 1000 for Poisson", self.mean, "3.0 is BART's")

    def probabilities(self) -> np.ndarray:
        n = np.arange(1, int(self.mean + 10 * np.sqrt(self.mean)) + 15)
        chances = np.exp(np.append(0.0, np.cumsum(np.log(self.mean / n))) - self.mean)
        return chances / chances.sum()


@dataclass(frozen=True)
class Uniform(SpanLengths):
    """Every length from `shortest` to `longest` as likely: 1 to 3 in GPT-BERT (Charpentier and Samuel 2024, section 2).

    >>> from lm_objectives import Uniform
    >>> Uniform(shortest=2, longest=3).probabilities().tolist()
    [0.0, 0.0, 0.5, 0.5]

    Args:
        shortest: units of the shortest span, at least 1.
        longest: units of the longest, at least `shortest`.
    """

    shortest: int = 1
    longest: int = 3

    placement: ClassVar[Placement] = "tiling"

    def __post_init__(self) -> None:
        expected = "shortest of at least 1 and at most longest, which is at most 1000, for Uniform"
        mend = "GPT-BERT's are 1 and 3"
        expect(1 <= self.shortest <= self.longest <= 1000, expected, f"{self.shortest} and {self.longest}", mend)

    def probabilities(self) -> np.ndarray:
        allowed = np.arange(self.longest + 1) >= self.shortest
        return allowed / allowed.sum()


@dataclass(frozen=True)
class NGram(SpanLengths):
    """P(n) = (1 / n) / Σ (1 / k) for n from 1 to `longest`: ALBERT (Lan et al. 2020, section 4.1).

    >>> from lm_objectives import NGram
    >>> NGram(longest=3).probabilities().round(3).tolist()  # 6/11, 3/11, 2/11
    [0.0, 0.545, 0.273, 0.182]

    Args:
        longest: units of the longest span, at least 1.
    """

    longest: int = 3

    placement: ClassVar[Placement] = "disjoint"

    def __post_init__(self) -> None:
        expect(1 <= self.longest <= 1000, "longest from 1 to 1000 for NGram", self.longest, "3 is as published")

    def probabilities(self) -> np.ndarray:
        chances = np.append(0.0, 1 / np.arange(1, self.longest + 1))
        return chances / chances.sum()
