"""Divide steps into whole units by shares that are met exactly over time.

Everything is in whole numbers, of which `scale` make a unit: nothing drifts, however long a training is.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice, repeat
from operator import add

_HORIZON = 64  # steps that are looked ahead before units go by deadlines alone
_BLOCKS = 16, 4096  # steps whose growth is worked out together, up to the horizon and beyond it


class Growth:
    """What targets grow by in steps to come, beyond whole units: from 0 to below `scale`, whole units in sum.

    Args:
        parts: each step's growth, from a first step on for a number of steps.
        constant_from: the step from which it stays.
    """

    def __init__(self, parts: Callable[[int, int], Iterable[Sequence[int]]], constant_from: int = 0) -> None:
        self._parts, self._constant_from = parts, constant_from

    def after(self, step: int) -> Iterator[Sequence[int]]:
        """Each step's, from the one after `step` on, endlessly."""
        soon, later = _BLOCKS
        for size in chain(repeat(soon, _HORIZON // soon), repeat(later)):
            yield from self._parts(step + 1, size)
            step += size

    def due(self, step: int, index: int, missing: int) -> int | float:
        """How many steps after `step` an objective's target has grown by `missing`; infinite where it never does."""
        for steps, part in enumerate(self.after(step), 1):
            missing -= part[index]
            if missing <= 0:
                return steps
            if step + steps >= self._constant_from:
                return steps - (-missing // part[index]) if part[index] else math.inf
        raise AssertionError("steps have no end")


def distribute_units(behind: Sequence[int], parts: Iterable[Sequence[int]], scale: int, growth: Growth) -> list[int]:
    """Distribute what is left of steps in which each objective has its whole units already; the targets less what
    was given after them.

    What is left of a step goes to those furthest behind, one each, in order where they are alike. That alone lets some
    of five objectives or more fall a whole unit behind in rare cases: 7/6 of one where shares of 50, 1, 3, 50, 3 and 1
    get a unit a step. So where one would have to, units go to those that would be a whole unit behind first, of those
    not ahead.

    None is then ever a unit off. The j-th unit of an objective has a first step, in which its target exceeds j - 1,
    and a last, in which it reaches j. The targets are a schedule in parts of units, so there is one in whole units as
    well, and earliest deadline first finds it from wherever there still is one (Baruah et al. 1996, "Proportionate
    Progress", ask the same of processors).

    Args:
        behind: targets less what was given, before the first step.
        parts: what the targets grow by in each step, as `growth` has it of later ones.
        scale: parts of a unit.
        growth: in steps to come, counted from the first of `parts` as 0.
    """
    now = list(behind)
    others, bound = len(now) - 1, -scale
    for step, part in enumerate(parts):
        now = list(map(add, now, part))
        left = sum(part) // scale
        if not left:
            continue
        if left == 1:
            given = [now.index(max(now))]
        else:
            given = sorted(range(len(now)), key=now.__getitem__, reverse=True)[:left]
        for index in given:
            now[index] -= scale
        # Two can only be ahead by a unit where a third is behind by one, which there never is.
        if others > 2 and min(now) * others <= bound and not _goes_on(now, scale, growth.after(step)):
            for index in given:
                now[index] += scale
            now = _by_deadline(now, left, scale, growth, step)
    return now


def _goes_on(behind: list[int], scale: int, later: Iterator[Sequence[int]]) -> bool:
    """Whether all units can be given in time: never more are due than there are, while some are a unit ahead in sum.

    With d behind and p the growth to come, the units due are Σ floor(d + p) over those that lack one, and those to come
    Σ p over all, which is less by a unit only if Σ (d + p) over the others is at most -1.
    """
    now, room = behind, 0
    for part in islice(later, _HORIZON):
        if sum(value for value in now if value < 0) > -scale:
            return True
        now = list(map(add, now, part))
        room += sum(part)
        if sum(value // scale for value in now if value >= scale) * scale > room:
            return False
    return False


def _by_deadline(behind: list[int], left: int, scale: int, growth: Growth, step: int) -> list[int]:
    now = behind.copy()

    def urgency(index: int) -> tuple[bool, int | float, int]:
        value = now[index]
        return value <= 0, growth.due(step, index, scale - value) if 0 < value < scale else 0, -value

    for _ in range(left):
        now[min(range(len(now)), key=urgency)] -= scale
    return now


def distribute_constant(behind: Sequence[int], part: Sequence[int], scale: int, steps: int) -> list[int]:
    """`distribute_units` for steps that are all alike.

    Targets are whole again after a period. Where objectives then stand as they did a period ago, all further periods
    are the same and are left out.
    """
    period, growth = scale // math.gcd(scale, *part), Growth(lambda _, steps: repeat(part, steps))
    now = list(behind)
    while steps >= period:
        then = distribute_units(now, repeat(part, period), scale, growth)
        steps = (steps - period) % period if then == now else steps - period
        now = then
    return distribute_units(now, repeat(part, steps), scale, growth)
