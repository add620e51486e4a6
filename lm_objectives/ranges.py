"""Numbers that a setting can have: finite ones, within single precision."""

import math
from typing import Any

LARGEST = 3.4e38
"""What single precision holds."""


def is_finite(value: Any) -> bool:
    """Whether a value is a number, no boolean, that single precision holds.

    >>> [is_finite(value) for value in (1e-8, 2**70, 1e300, float("nan"), True, None)]
    [True, True, False, False, False, False]
    """
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LARGEST


def is_within(value: Any, least: int | float = -math.inf, most: int | float = math.inf) -> bool:
    """Whether a value is a finite number from `least` to `most`, both included."""
    return is_finite(value) and least <= value <= most
