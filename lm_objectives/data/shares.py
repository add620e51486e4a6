"""Shares of the objectives over a training, as parts of a step's batch."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import ceil, lcm

import numpy as np
from jaxtyping import Float, Int

from lm_objectives.errors import InputError
from lm_objectives.schedules import Schedulable, points_at_steps

FINE = 2**40
"""Parts of a unit that shares count in while they move."""

_MULTIPLES = (8, 4, 2)  # largest first; a GPU's kernels and up to 8 devices are served by no more


class ShareSchedule:
    """Shares of a step's batch by objective, constant or moving over the training.

    Objectives are given by their numbers, in the order of `shares`.

    Args:
        shares: of each objective with rows of its own, at least 0.
        steps: optimizer steps in the whole training, -1 where nothing bounds it.

    Attributes:
        end: the step from which all shares are constant.

    Raises:
        InputError: where a step has no share above 0.
    """

    def __init__(self, shares: Mapping[str, Schedulable], steps: int) -> None:
        self._points = [
            [(0.0, share)] if isinstance(share, (int, float)) else points_at_steps(share, steps, f"share of {name}")
            for name, share in shares.items()
        ]
        everyone = range(len(self._points))
        self._constant: dict[tuple[int, ...], tuple[list[int], int]] = {}
        self.end = self.constant_from(everyone)
        self.check(everyone, 0, self.end + 1)

    def constant_from(self, objectives: Sequence[int]) -> int:
        """The first step from which the shares of these objectives stay."""
        return ceil(max(self._points[number][-1][0] for number in objectives))

    def default_multiple(self, rows: int) -> int:
        """The largest power of two up to 8 that divides `rows` and of which each objective gets one in every step.

            32 rows, shares 1 1 1 1     8        28 rows, seven alike        4
            32 rows, shares 1 1 1 1 1   4        32 rows, shares 1 and 15    2

        Where a share moves, its largest part over the training counts; where it is 0 throughout, none. 1 where no
        power of two does.
        """
        times = sorted({when for points in self._points for when, _ in points})
        shares = [[_as_written(float(share)) for share in now] for now in self._at(range(len(self._points)), times)]
        parts = [[share / sum(now) for share in now] for now in shares if sum(now)]  # monotonic between two points
        smallest = min(part for part in map(max, zip(*parts, strict=True)) if part)
        return next((size for size in _MULTIPLES if rows % size == 0 and size <= rows * smallest), 1)

    def constant_rates(self, objectives: tuple[int, ...], units: int, start: int) -> tuple[list[int], int]:
        """How many parts of a unit a step has for each of the objectives from `start` on, and the parts of a unit."""
        if objectives not in self._constant:
            self.check(objectives, start, start + 1)
            shares = [_as_written(self._points[number][-1][1]) for number in objectives]
            rates = [units * share / sum(shares) for share in shares]
            scale = lcm(*(rate.denominator for rate in rates))
            self._constant[objectives] = [int(rate * scale) for rate in rates], scale
        return self._constant[objectives]

    def moving_rates(
        self, objectives: Sequence[int], units: int, start: int, stop: int
    ) -> Int[np.ndarray, "steps objectives"]:
        """How many of `FINE` parts of a unit the steps have for each of the objectives."""
        shares = self._at(objectives, np.arange(start, stop))
        total = np.maximum(shares.sum(axis=1, keepdims=True), np.finfo(float).tiny)  # 0 where others will read by then
        rates = np.rint(shares / total * (units * FINE)).astype(np.int64)
        rates[np.arange(len(rates)), rates.argmax(axis=1)] += units * FINE - rates.sum(axis=1)
        return rates

    def check(self, objectives: Sequence[int], start: int, stop: int) -> None:
        """Raise where none of the objectives has a share above 0 in one of these steps."""
        none = np.flatnonzero(~(self._at(objectives, np.arange(start, stop)) > 0).any(axis=1))
        if len(none):
            raise InputError(
                f"expected an objective with a share above 0 in every step, found none from step {start + none[0]} "
                "on: leave one a share"
            )

    def _at(
        self, objectives: Sequence[int], times: Sequence[float] | np.ndarray
    ) -> Float[np.ndarray, "steps objectives"]:
        columns = [zip(*self._points[number], strict=True) for number in objectives]
        return np.stack([np.interp(times, whens, shares) for whens, shares in columns], axis=1)


def _as_written(share: float) -> Fraction:
    """The plainest fraction that is this number in double precision: .3 is 3/10 and 1/3 is 1/3."""
    plain = Fraction(share).limit_denominator(10**6)
    return plain if float(plain) == share else Fraction(str(float(share)))
