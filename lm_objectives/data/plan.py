"""How many rows each objective reads in each step."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import lcm

import numpy as np

from lm_objectives.corruptions.base import Corruption
from lm_objectives.data.apportionment import Growth, distribute_constant, distribute_units
from lm_objectives.data.shares import FINE, ShareSchedule
from lm_objectives.errors import InputError, expect
from lm_objectives.schedules import Schedulable

ACTIVITY_DELAY = 16
"""Steps from losses that change which objectives read to the changed rows: more than any prefetching looks ahead."""

_BLOCK = 4096  # steps whose moving shares are worked out together


@dataclass(frozen=True)
class ObjectiveRows:
    """The corruption of one objective, and its part of the rows.

    Attributes:
        corruption: makes the rows into views.
        share: its part of a step's rows, at least 0; of no account where `shares_rows_with` is set.
        shares_rows_with: the objective on whose rows the corruption is applied, if not on rows of its own.
    """

    corruption: Corruption
    share: Schedulable = 1.0
    shares_rows_with: str | None = None


def row_owner(name: str, sources: Mapping[str, ObjectiveRows]) -> str:
    """The objective whose rows `name` reads."""
    return sources[name].shares_rows_with or name


class ActivityLog:
    """The log of which objectives read rows from which step on; all that a run's rows depend on besides the step.

    Args:
        entries: pairs of a step and the names of those that read from it on, steps ascending, the first at 0.
    """

    def __init__(self, entries: Iterable[tuple[int, Iterable[str]]] = ()) -> None:
        self.entries = [(int(step), tuple(names)) for step, names in entries]

    def append(self, step: int, names: Iterable[str]) -> None:
        """From `step` on `names` read rows; nothing is added where that is so already."""
        names = tuple(names)
        if not self.entries or self.entries[-1][1] != names:
            self.entries = [entry for entry in self.entries if entry[0] < step]
            self.entries.append((step, names))

    def at(self, step: int) -> tuple[str, ...]:
        """The objectives that read rows at `step`."""
        return self.entries[bisect_right([entry[0] for entry in self.entries], step) - 1][1]

    def until(self, step: int, stop: int) -> int:
        """The first step after `step` at which others read, at most `stop`."""
        return min((start for start, _ in self.entries if step < start < stop), default=stop)


@dataclass(frozen=True)
class _Progress:
    """Units that objectives have had before a step.

    Attributes:
        given: units of each so far.
        behind: by how much each is behind its target, in parts of a unit.
        scale: parts of a unit.
    """

    given: tuple[int, ...]
    behind: tuple[int, ...]
    scale: int = 1

    def finer(self, scale: int) -> "_Progress":
        """The same in parts of which there is a whole number in those of `scale`, too."""
        common = lcm(scale, self.scale)
        return replace(self, behind=tuple(value * (common // self.scale) for value in self.behind), scale=common)


class RowPlan:
    """Rows of each step for each objective that has rows of its own, so that shares are met exactly over time.

    At step s an objective's target is the sum of units x share over steps 0 to s, shares being parts of those that read
    then. Each step has the whole units of units x share for each, and what is left goes to those furthest behind, by
    name where they are alike (see `apportionment.distribute_units`): no objective is ever a whole unit off its target,
    and one of less than a unit is absent from some steps. Only where several objectives stop reading in one step may
    others be off by more, for a few steps, since their part of what was given is not taken back.

    A pure function of sources, activity and step. Shares that stay count as the plain fractions they are written as,
    without rounding; those that move over the training as multiples of 2^-40 of a unit.

    Args:
        sources: all objectives' sources, by name, in any order.
        global_batch_size: rows of an optimizer step over all devices and accumulation.
        batch_multiple: rows of a unit, which each objective's rows are a multiple of; `None` chooses it, see
            `ShareSchedule.default_multiple`.
        activity: which objectives read; by default all from the start.
        steps: optimizer steps in the whole training, -1 where nothing bounds it.
        repeat: the first steps, whose rows are read again and again; `None` for new rows in each step.

    Raises:
        InputError: where a step cannot be shared out as the settings ask for.
    """

    def __init__(
        self,
        sources: Mapping[str, ObjectiveRows],
        global_batch_size: int,
        batch_multiple: int | None,
        activity: ActivityLog | None = None,
        steps: int = -1,
        repeat: int | None = None,
    ) -> None:
        check_row_sharing(sources)
        if batch_multiple:
            left = global_batch_size % batch_multiple
            expected = f"a data.global_batch_size that data.batch_multiple ({batch_multiple}) divides"
            expect(not left, expected, global_batch_size, f"{global_batch_size - left + batch_multiple} would do")
        self._repeat = repeat
        self._owners = {name: row_owner(name, sources) for name in sources}
        self.shares = {name: sources[name].share for name in sorted(sources) if sources[name].shares_rows_with is None}
        self.schedule = ShareSchedule(self.shares, steps)
        self.batch_multiple = batch_multiple or self.schedule.default_multiple(global_batch_size)
        self.units = global_batch_size // self.batch_multiple
        self.activity = activity if activity is not None else ActivityLog([(0, tuple(sources))])
        self._known = {0: _Progress((0,) * len(self.shares), (0,) * len(self.shares))}

    def source_step(self, step: int) -> int:
        """The step whose rows are read at `step`: itself, or where rows repeat one of the first."""
        return step % self._repeat if self._repeat else step

    def rows(self, step: int) -> dict[str, int]:
        """Rows at `step` by objective, in the order of names, those without any left out."""
        step = self.source_step(step)
        before, after = self.before(step), self.before(step + 1)
        return {name: after[name] - before[name] for name in self.shares if after[name] > before[name]}

    def before(self, step: int) -> dict[str, int]:
        """Rows that each objective has read before `step`."""
        given = (units * self.batch_multiple for units in self._progress(step).given)
        return dict(zip(self.shares, given, strict=True))

    def _progress(self, step: int) -> _Progress:
        known = self._known
        if step not in known:
            at = max(near for near in known if near < step)
            now = known[at]
            while at < step:
                at, now = self._advance(at, step, now)
            known[step] = now
            if len(known) > 4 * ACTIVITY_DELAY:
                del known[next(old for old in known if old)]
        return known[step]

    def _advance(self, start: int, stop: int, now: _Progress) -> tuple[int, _Progress]:
        """Go on from `start`, at most to `stop`, while the same objectives read and their shares stay or are known."""
        active = {self._owners[name] for name in self.activity.at(start)}
        readers = tuple(number for number, name in enumerate(self.shares) if name in active)
        stop, constant_from = self.activity.until(start, stop), self.schedule.constant_from(readers)
        if start >= constant_from:
            rates, scale = self.schedule.constant_rates(readers, self.units, start)
            here = [place for place, rate in enumerate(rates) if rate]
            now = now.finer(scale)
            early = [now.behind[readers[place]] for place in here]
            grown = [rates[place] * (now.scale // scale) for place in here]
            late = distribute_constant(early, [rate % now.scale for rate in grown], now.scale, stop - start)
            grown = [rate * (stop - start) for rate in grown]
        else:
            stop = min(stop, start + _BLOCK, constant_from)
            self.schedule.check(readers, start, stop)
            moving = self.schedule.moving_rates(readers, self.units, start, stop)
            here = np.flatnonzero(moving[0]).tolist()
            others = np.flatnonzero(((moving > 0) != (moving[0] > 0)).any(axis=1))  # one comes or goes there
            moving = moving[: others[0] if len(others) else None, here]
            stop = start + len(moving)
            now = now.finer(FINE)
            early, factor = [now.behind[readers[place]] for place in here], now.scale // FINE

            def scaled(rates: np.ndarray) -> list[list[int]]:
                return [[part * factor for part in step] for step in (rates % FINE).tolist()]

            def later(first: int, steps: int) -> list[list[int]]:
                first += start
                return scaled(self.schedule.moving_rates(readers, self.units, first, first + steps)[:, here])

            growth = Growth(later, self.schedule.end - start)
            late = distribute_units(early, scaled(moving), now.scale, growth)
            sums = zip((moving // FINE).sum(axis=0).tolist(), (moving % FINE).sum(axis=0).tolist(), strict=True)
            grown = [whole * now.scale + part * factor for whole, part in sums]
        given, behind = list(now.given), list(now.behind)
        for place, first, last, more in zip(here, early, late, grown, strict=True):
            given[readers[place]] += (first + more - last) // now.scale
            behind[readers[place]] = last
        return stop, _Progress(tuple(given), tuple(behind), now.scale)


def check_row_sharing(sources: Mapping[str, ObjectiveRows]) -> None:
    """Raise where objectives cannot share rows as their settings ask for."""
    readers: dict[str, str] = {}
    for name, source in sources.items():
        owner = source.shares_rows_with
        if owner is None:
            continue
        expected = f"shares_rows_with of objective {name} to name another objective"
        mend = f"there are {', '.join(other for other in sources if other != name)}"
        expect(owner in sources, expected, repr(owner), mend)
        own, others = source.corruption, sources[owner].corruption
        faults = {
            f"shares_rows_with of objective {name} to name an objective with rows of its own, found {owner!r}": (
                owner == name or sources[owner].shares_rows_with is not None
            ),
            f"one objective to read the view of {owner}, found {readers.get(owner)} and {name}: give one of them rows "
            "of its own": owner in readers,
            f"objectives that read the same rows for shares_rows_with of objective {name}, found "
            f"{name if own.uses_decoder else owner}, which has a decoder write: give {name} rows of its own": (
                own.uses_decoder or others.uses_decoder
            ),
            f"objective {name} to read a view of its own attention pattern ({own.attention}), found {owner} with "
            f"{others.attention}: give it rows of its own": own.attention != others.attention,
            f"an objective that changes tokens to read the view of {owner}, found {name}, which arranges rows itself: "
            "give it rows of its own": builds_own_rows(own),
        }
        for fault, there in faults.items():
            if there:
                raise InputError(f"expected {fault}")
        readers[owner] = name


def builds_own_rows(corruption: Corruption) -> bool:
    """Whether a corruption builds rows itself instead of copying the text as it is."""
    return type(corruption).read_rows is not Corruption.read_rows
