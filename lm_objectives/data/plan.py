"""Which objective reads how many rows in which step."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import count
from math import ceil, inf, lcm

import numpy as np
from jaxtyping import Float, Int

from lm_objectives.corruptions.base import Corruption
from lm_objectives.data.apportionment import Growth, distribute_constant, distribute_units
from lm_objectives.errors import InputError
from lm_objectives.schedules import Schedulable, points_at_steps

ACTIVITY_DELAY = 16
"""Steps from a decision that depends on losses to the rows it changes: more than any prefetching looks ahead."""


_FINE = 2**40  # parts of a unit that shares count in while they move


_SOON = 16  # steps that are looked ahead at a time


_BLOCK = 4096  # steps whose moving shares are worked out together


@dataclass(frozen=True)
class ObjectiveRows:
    """How the data half of one objective gets its rows.

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
    """The log of who reads rows from which step on; all that a run's rows depend on besides the step.

    Args:
        entries: pairs of a step and the names of those who read from it on, steps ascending, the first at 0.
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
        """Who reads rows at `step`."""
        return self.entries[bisect_right([entry[0] for entry in self.entries], step) - 1][1]

    def until(self, step: int, stop: int) -> int:
        """The first step after `step` at which others read, at most `stop`."""
        return min((start for start, _ in self.entries if step < start < stop), default=stop)


@dataclass(frozen=True)
class _Standing:
    """Where objectives stand before a step.

    Attributes:
        given: units of each so far.
        behind: by how much each is behind its target, in parts of a unit.
        scale: parts of a unit.
    """

    given: tuple[int, ...]
    behind: tuple[int, ...]
    scale: int = 1

    def finer(self, scale: int) -> "_Standing":
        """The same in parts of which there is a whole number in those of `scale`, too."""
        common = lcm(scale, self.scale)
        return replace(self, behind=tuple(value * (common // self.scale) for value in self.behind), scale=common)


class _Moving(Growth):
    """Growth of targets in steps to come, while shares move.

    Args:
        plan: whose.
        start: the step that is counted as 0.
        hosts: numbers of the objectives that read.
        here: places among them of those that have a share.
        factor: parts of a unit in each of `_FINE`.
    """

    def __init__(self, plan: "RowPlan", start: int, hosts: Sequence[int], here: Sequence[int], factor: int) -> None:
        self.plan, self.start, self.hosts, self.here, self.factor = plan, start, hosts, here, factor

    def _blocks(self, step: int, size: int) -> Iterator[Int[np.ndarray, "steps here"]]:
        for first in count(self.start + step + 1, size):
            yield self.plan.moving_rates(self.hosts, first, first + size)[:, self.here] % _FINE

    def after(self, step: int) -> Iterator[list[int]]:
        for block in self._blocks(step, _SOON):
            for part in block.tolist():
                yield [value * self.factor for value in part]

    def due(self, step: int, index: int, missing: int) -> float:
        wanted, after = -(-missing // self.factor), 0
        for block in self._blocks(step, _BLOCK):
            grown = np.cumsum(block[:, index])
            if grown[-1] >= wanted:
                return float(after + np.searchsorted(grown, wanted) + 1)
            if self.start + step + after > self.plan.end:
                last = int(block[-1, index])
                return float(after - (-wanted // last)) if last else inf
            wanted, after = wanted - int(grown[-1]), after + _BLOCK
        raise AssertionError("blocks have no end")


class RowPlan:
    """Rows of each step for each objective that has rows of its own, so that shares are met exactly over time.

    At step s an objective's target is the sum of units x share over steps 0 to s, shares being parts of those that read
    then. Each step has the whole units of units x share for each, and what is left goes to those furthest behind, by
    name where they are alike (see `apportionment.settle`): nobody is ever a whole unit off its target, and an objective
    of less than a unit is absent from some steps. Only where several objectives stop reading in one step may others be
    off by more, for a few steps, since their part of what was given is not taken back.

    A pure function of sources, decisions and step. Shares that stay count as the plain fractions they are written as,
    without rounding; those that move over the training as multiples of 2^-40 of a unit.

    Args:
        sources: all objectives' sources, by name, in any order.
        global_batch_size: rows of an optimizer step over all devices and accumulation.
        unit: what each objective's rows are a multiple of.
        decisions: who reads; by default everyone from the start.
        steps: optimizer steps in the whole training, -1 where nothing bounds it.

    Raises:
        ValueError: where a step cannot be shared out as it is told to.
    """

    def __init__(
        self,
        sources: Mapping[str, ObjectiveRows],
        global_batch_size: int,
        batch_multiple: int,
        activity: ActivityLog | None = None,
        steps: int = -1,
    ) -> None:
        check_row_sharing(sources)
        if global_batch_size % batch_multiple:
            raise InputError(
                f"expected a data.global_batch_size that data.batch_multiple ({batch_multiple}) divides, found {global_batch_size}: "
                f"{global_batch_size - global_batch_size % batch_multiple + batch_multiple} would do"
            )
        self.hosts = {name: row_owner(name, sources) for name in sources}
        self.shares = {name: sources[name].share for name in sorted(sources) if sources[name].shares_rows_with is None}
        self.global_batch_size, self.batch_multiple = global_batch_size, batch_multiple
        self.activity = activity if activity is not None else ActivityLog([(0, tuple(sources))])
        self._points = [_points_of(share, steps, f"share of {name}") for name, share in self.shares.items()]
        self.end = ceil(max(points[-1][0] for points in self._points))
        self._steady: dict[tuple[int, ...], tuple[list[int], int]] = {}
        self._standings = {0: _Standing((0,) * len(self.shares), (0,) * len(self.shares))}
        self._refuse_none(self._shares(range(len(self.shares)), 0, self.end + 1), 0)

    def rows(self, step: int) -> dict[str, int]:
        """Rows at `step` by objective, in the order of names, those without any left out."""
        before, after = self._standing(step).given, self._standing(step + 1).given
        counts = zip(self.shares, before, after, strict=True)
        return {name: (late - early) * self.batch_multiple for name, early, late in counts if late > early}

    def before(self, step: int) -> dict[str, int]:
        """Rows that each objective has read before `step`."""
        return {
            name: units * self.batch_multiple
            for name, units in zip(self.shares, self._standing(step).given, strict=True)
        }

    def _standing(self, step: int) -> _Standing:
        known = self._standings
        if step not in known:
            at = max(near for near in known if near < step)
            now = known[at]
            while at < step:
                at, now = self._stretch(at, step, now)
            known[step] = now
            if len(known) > 4 * ACTIVITY_DELAY:
                del known[next(old for old in known if old)]
        return known[step]

    def _stretch(self, start: int, stop: int, now: _Standing) -> tuple[int, _Standing]:
        """Go on from `start`, at most to `stop`, while the same objectives read and their shares stay or are known."""
        hosts, stop = self._reading(start), self.activity.until(start, stop)
        if all(start >= self._points[host][-1][0] for host in hosts):
            rates, scale = self._steady_rates(hosts, start)
            here = [place for place, rate in enumerate(rates) if rate]
            now = now.finer(scale)
            early = [now.behind[hosts[place]] for place in here]
            grown = [rates[place] * (now.scale // scale) for place in here]
            late = distribute_constant(early, [rate % now.scale for rate in grown], now.scale, stop - start)
            grown = [rate * (stop - start) for rate in grown]
        else:
            ends = ceil(max(self._points[host][-1][0] for host in hosts))  # from where shares stay, exactly
            stop = min(stop, start + _BLOCK, ends)
            self._refuse_none(self._shares(hosts, start, stop), start)
            moving = self.moving_rates(hosts, start, stop)
            here = np.flatnonzero(moving[0]).tolist()
            others = np.flatnonzero(((moving > 0) != (moving[0] > 0)).any(axis=1))  # who reads comes or goes there
            moving = moving[: others[0] if len(others) else None, here]
            stop = start + len(moving)
            now = now.finer(_FINE)
            early = [now.behind[hosts[place]] for place in here]
            factor, parts = now.scale // _FINE, moving % _FINE
            fine = parts.tolist() if factor == 1 else [[part * factor for part in step] for step in parts.tolist()]
            late = distribute_units(early, fine, now.scale, _Moving(self, start, hosts, here, factor))
            sums = zip((moving // _FINE).sum(axis=0).tolist(), parts.sum(axis=0).tolist(), strict=True)
            grown = [whole * now.scale + part * factor for whole, part in sums]
        given, behind = list(now.given), list(now.behind)
        for place, first, last, more in zip(here, early, late, grown, strict=True):
            given[hosts[place]] += (first + more - last) // now.scale
            behind[hosts[place]] = last
        return stop, _Standing(tuple(given), tuple(behind), now.scale)

    def _reading(self, step: int) -> tuple[int, ...]:
        """Numbers of the objectives of whom rows are read at `step`, unless their share is 0."""
        names = {self.hosts[name] for name in self.activity.at(step)}
        return tuple(number for number, name in enumerate(self.shares) if name in names)

    def _steady_rates(self, hosts: tuple[int, ...], start: int) -> tuple[list[int], int]:
        """How many parts of a unit a step has for each of `hosts` when shares stay, and the parts of a unit."""
        if hosts not in self._steady:
            shares = [_as_written(self._points[host][-1][1]) for host in hosts]
            self._refuse_none(np.array([shares], dtype=float), start)
            common = lcm(*(share.denominator for share in shares))
            weights = [int(share * common) for share in shares]
            rates = [
                Fraction(self.global_batch_size // self.batch_multiple * weight, sum(weights)) for weight in weights
            ]
            scale = lcm(*(rate.denominator for rate in rates))
            self._steady[hosts] = [int(rate * scale) for rate in rates], scale
        return self._steady[hosts]

    def moving_rates(self, hosts: Sequence[int], start: int, stop: int) -> Int[np.ndarray, "steps hosts"]:
        """How many of `_FINE` parts of a unit the steps have for each of `hosts`."""
        units, shares = self.global_batch_size // self.batch_multiple, self._shares(hosts, start, stop)
        total = np.maximum(shares.sum(axis=1, keepdims=True), np.finfo(float).tiny)  # 0 where others will read by then
        rates = np.rint(shares / total * (units * _FINE)).astype(np.int64)
        rates[np.arange(len(rates)), rates.argmax(axis=1)] += units * _FINE - rates.sum(axis=1)
        return rates

    def _shares(self, hosts: Sequence[int], start: int, stop: int) -> Float[np.ndarray, "steps hosts"]:
        """The shares of `hosts` at steps from `start` to before `stop`."""
        steps = np.arange(start, stop)
        points = [np.array(self._points[host]) for host in hosts]
        return np.stack([np.interp(steps, whens, shares) for whens, shares in (own.T for own in points)], axis=1)

    def _refuse_none(self, shares: Float[np.ndarray, "steps hosts"], start: int) -> None:
        """Raise where nobody has a share in a step."""
        none = np.flatnonzero(~(shares > 0).any(axis=1))
        if len(none):
            raise InputError(
                f"expected an objective with a share above 0 in every step, found none from step {start + none[0]} "
                "on: leave one a share"
            )


def _as_written(share: float) -> Fraction:
    """The plainest fraction that is this number in double precision: .3 is 3/10 and 1/3 is 1/3."""
    plain = Fraction(share).limit_denominator(10**6)
    return plain if float(plain) == share else Fraction(str(float(share)))


def _points_of(share: Schedulable, steps: int, what: str) -> list[tuple[float, float]]:
    """The points that a share follows, at optimizer steps; one that stays has the same from the start on."""
    return [(0.0, share)] if isinstance(share, (int, float)) else points_at_steps(share, steps, what)


def check_row_sharing(sources: Mapping[str, ObjectiveRows]) -> None:
    """Raise where objectives cannot share rows as they are told to."""
    guests: dict[str, str] = {}
    for name, source in sources.items():
        host = source.shares_rows_with
        if host is None:
            continue
        if host not in sources:
            raise InputError(
                f"expected shares_rows_with of objective {name} to name another objective, found {host!r}: "
                f"there are {', '.join(other for other in sources if other != name)}"
            )
        if host == name or sources[host].shares_rows_with is not None:
            raise InputError(
                f"expected shares_rows_with of objective {name} to name an objective with rows of its own, found {host!r}"
            )
        if host in guests:
            raise InputError(
                f"expected one objective to read the view of {host}, found {guests[host]} and {name}: "
                "give one of them rows of its own"
            )
        if source.corruption.uses_decoder or sources[host].corruption.uses_decoder:
            writer = name if source.corruption.uses_decoder else host
            raise InputError(
                f"expected objectives that read the same rows for shares_rows_with of objective {name}, found {writer}, which "
                f"has a decoder write: give {name} rows of its own"
            )
        if source.corruption.attention != sources[host].corruption.attention:
            raise InputError(
                f"expected objective {name} to read a view of its own attention pattern "
                f"({source.corruption.attention}), found {host} with {sources[host].corruption.attention}: "
                "give it rows of its own"
            )
        if builds_own_rows(source.corruption):
            raise InputError(
                f"expected an objective that changes tokens to read the view of {host}, found {name}, which arranges "
                "rows itself: give it rows of its own"
            )
        guests[host] = name


def builds_own_rows(corruption: Corruption) -> bool:
    """Whether a corruption arranges rows itself instead of taking the text as it stands."""
    return type(corruption).read_rows is not Corruption.read_rows
