"""How long a run of masked units is: the published distributions, as plain data."""

from abc import ABC, abstractmethod

import numpy as np

from lm_objectives.corruption.keyed import uniform
from lm_objectives.plugin import Plugin


class SpanLengths(Plugin, ABC):
    """A distribution over the lengths of runs; equal ones give the same chances."""

    @abstractmethod
    def probabilities(self) -> np.ndarray:
        """Chances of runs of 0, 1, 2, … units, `(lengths,)`, at least 0, with a sum above 0."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SpanLengths) and np.array_equal(self.probabilities(), other.probabilities())

    def __hash__(self) -> int:
        return hash(self.probabilities().tobytes())


def lengths_from(lengths: SpanLengths, bits: np.ndarray, least: int) -> np.ndarray:
    """A length of at least `least` units from each 64 random bits, by inverse CDF."""
    chances = lengths.probabilities()
    cumulative = np.cumsum(np.where(np.arange(len(chances)) < least, 0.0, chances))
    return np.searchsorted(cumulative / cumulative[-1], uniform(bits), side="right")


class Geometric(SpanLengths):
    """P(n) ∝ p (1 - p)^(n - 1) for n from 1 to `longest`: SpanBERT (Joshi et al. 2020, section 3.1).

    Args:
        p: chance that a run ends after each unit, in (0, 1]; the mean of the defaults is 3.8 units.
        longest: units of the longest run, at least 1.
    """

    def __init__(self, p: float = 0.2, longest: int = 10) -> None:
        if not 0 < p <= 1:
            raise ValueError(f"expected p above 0 and at most 1 for Geometric, found {p}: 0.2 is SpanBERT's")
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
            raise ValueError(f"expected a mean above 0 and at most 1000 for Poisson, found {mean}: 3.0 is BART's")
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

    def __init__(self, shortest: int = 1, longest: int = 3) -> None:
        if not 1 <= shortest <= longest:
            raise ValueError(
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

    def __init__(self, longest: int = 3) -> None:
        _check_longest("NGram", longest, 3)
        self.longest = longest

    def probabilities(self) -> np.ndarray:
        chances = np.append(0.0, 1 / np.arange(1, self.longest + 1))
        return chances / chances.sum()


def _check_longest(name: str, longest: int, published: int) -> None:
    if longest < 1:
        raise ValueError(f"expected longest of at least 1 for {name}, found {longest}: {published} is as published")
