"""Small pieces of text that a study's sentences and tables share."""

from collections.abc import Sequence

ABSENT = "–"  # noqa: RUF001
"""Stands for a number that is not there, which is never 0."""


def listed(names: Sequence[str]) -> str:
    """Names with an "and" before the last.

    >>> listed(["causal"]), listed(["causal", "masked", "mixed"])
    ('causal', 'causal, masked and mixed')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def count(number: int, noun: str) -> str:
    """A number of things.

    >>> count(1, "seed"), count(5, "seed")
    ('1 seed', '5 seeds')
    """
    return f"{number:,} {noun}{'s' * (number != 1)}"


def minutes(seconds: float) -> str:
    """A time, in hours from two of them on.

    >>> minutes(138.0), minutes(9000.0)
    ('2.3 minutes', '2.5 hours')
    """
    return f"{seconds / 3600:.1f} hours" if seconds >= 7200 else f"{seconds / 60:.1f} minutes"


def amount(value: float | int, digits: int = 3) -> str:
    """A budget, or what was spent.

    >>> amount(1.761e13), amount(600)
    ('1.76e13', '600')
    """
    return f"{value:.{digits}g}".replace("e+", "e")
