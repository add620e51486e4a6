"""Which objective reads how many rows in which step."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

from lm_objectives.corruption.base import Corruption
from lm_objectives.ramps import Ramp, place_points, value_at

LAG = 16
"""Steps from a decision that depends on losses to the rows it changes: more than any prefetching looks ahead."""

_GRAINS = 100  # in which shares move over a training, so that the rows before a step are soon counted


@dataclass(frozen=True)
class RowSource:
    """How the data half of one objective gets its rows.

    Attributes:
        corruption: makes the rows into views.
        share: its part of a step's rows, at least 0; of no account where `view_of` is set.
        view_of: the objective on whose rows the corruption is applied, if not on rows of its own.
    """

    corruption: Corruption
    share: Ramp = 1.0
    view_of: str | None = None


def host_of(name: str, sources: Mapping[str, RowSource]) -> str:
    """The objective whose rows `name` reads."""
    return sources[name].view_of or name


def allot(shares: Mapping[str, float], rows_per_step: int, unit: int) -> dict[str, int]:
    """Rows of one step for each share, whole units by largest remainder, and at least one for each.

    Depends on the step's total alone, never on how devices and accumulation divide it.
    """
    if rows_per_step % unit:
        raise ValueError(
            f"expected a data.rows_per_step that data.unit ({unit}) divides, found {rows_per_step}: "
            f"{rows_per_step - rows_per_step % unit + unit} would do"
        )
    units, total = rows_per_step // unit, sum(shares.values())
    if units < len(shares):
        raise ValueError(
            f"expected data.rows_per_step large enough to give each objective at least {unit} rows (data.unit), found "
            f"{rows_per_step} for {', '.join(shares)}: raise it to {unit * len(shares)}, or lower data.unit"
        )
    exact = {name: units * share / total for name, share in shares.items()}
    given = {name: max(int(value + 1e-9), 1) for name, value in exact.items()}
    while sum(given.values()) > units:  # who is furthest above its share makes room
        given[max((name for name in given if given[name] > 1), key=lambda name: given[name] - exact[name])] -= 1
    largest = sorted(shares, key=lambda name: given[name] - exact[name])
    for name in largest[: units - sum(given.values())]:
        given[name] += 1
    return {name: count * unit for name, count in given.items()}


class Decisions:
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


class Plan:
    """Rows of each step for each objective that has rows of its own.

    Shares that move over the training move in hundredths of it.

    Args:
        sources: all objectives' sources, by name.
        rows_per_step: rows of an optimizer step over all devices and accumulation.
        unit: what each objective's rows are a multiple of.
        decisions: who reads; by default everyone from the start.
        steps: optimizer steps in the whole training, -1 where nothing bounds it.

    Raises:
        ValueError: where a step cannot be shared out as it is told to.
    """

    def __init__(
        self,
        sources: Mapping[str, RowSource],
        rows_per_step: int,
        unit: int,
        decisions: Decisions | None = None,
        steps: int = -1,
    ) -> None:
        check_sources(sources)
        self.hosts = {name: host_of(name, sources) for name in sources}
        self.shares = {name: source.share for name, source in sources.items() if source.view_of is None}
        self.rows_per_step, self.unit, self.steps = rows_per_step, unit, steps
        self.decisions = decisions if decisions is not None else Decisions([(0, tuple(sources))])
        self._allotted: dict[tuple[tuple[str, ...], int], dict[str, int]] = {}
        ends = [
            place_points(share, steps, f"share of {name}")[-1][0]
            for name, share in self.shares.items()
            if not isinstance(share, (int, float))
        ]
        self._end = ceil(max(ends, default=0))
        self._grain = max(ceil(self._end / _GRAINS), 1)
        for moment in range(0, self._end + self._grain, self._grain):
            self._allot(tuple(sources), moment)

    def _moment(self, step: int) -> int:
        """The step whose shares count at `step`."""
        return min(step, self._end + self._grain - 1) // self._grain * self._grain

    def _allot(self, names: tuple[str, ...], moment: int) -> dict[str, int]:
        key = (names, moment)
        if key not in self._allotted:
            reading = {self.hosts[name] for name in names}
            now = {
                name: value_at(share, moment, self.steps, f"share of {name}")
                for name, share in self.shares.items()
                if name in reading
            }
            shares = {name: share for name, share in now.items() if share > 0}
            if not shares:
                raise ValueError(
                    f"expected an objective with a share above 0 in every step, found none from step {moment} on: "
                    "leave one a share"
                )
            self._allotted[key] = allot(shares, self.rows_per_step, self.unit)
        return self._allotted[key]

    def rows(self, step: int) -> dict[str, int]:
        """Rows at `step` by objective, those without any left out."""
        return self._allot(self.decisions.at(step), self._moment(step))

    def before(self, step: int) -> dict[str, int]:
        """Rows that each objective has read before `step`."""
        counts = dict.fromkeys(self.shares, 0)
        moves = range(0, min(step, self._end + self._grain), self._grain) if self._end else []
        starts = sorted({start for start, _ in self.decisions.entries if start < step} | {*moves})
        for start, end in pairwise([*starts, step]):
            for name, rows in self.rows(start).items():
                counts[name] += rows * (end - start)
        return counts


def check_sources(sources: Mapping[str, RowSource]) -> None:
    """Raise where objectives cannot share rows as they are told to."""
    guests: dict[str, str] = {}
    for name, source in sources.items():
        host = source.view_of
        if host is None:
            continue
        if host not in sources:
            raise ValueError(
                f"expected view_of of objective {name} to name another objective, found {host!r}: "
                f"there are {', '.join(other for other in sources if other != name)}"
            )
        if host == name or sources[host].view_of is not None:
            raise ValueError(
                f"expected view_of of objective {name} to name an objective with rows of its own, found {host!r}"
            )
        if host in guests:
            raise ValueError(
                f"expected one objective to read the view of {host}, found {guests[host]} and {name}: "
                "give one of them rows of its own"
            )
        if source.corruption.decodes or sources[host].corruption.decodes:
            writer = name if source.corruption.decodes else host
            raise ValueError(
                f"expected objectives that read the same rows for view_of of objective {name}, found {writer}, which "
                f"has a decoder write: give {name} rows of its own"
            )
        if source.corruption.attention != sources[host].corruption.attention:
            raise ValueError(
                f"expected objective {name} to read a view of its own attention pattern "
                f"({source.corruption.attention}), found {host} with {sources[host].corruption.attention}: "
                "give it rows of its own"
            )
        if arranges(source.corruption):
            raise ValueError(
                f"expected an objective that changes tokens to read the view of {host}, found {name}, which arranges "
                "rows itself: give it rows of its own"
            )
        guests[host] = name


def arranges(corruption: Corruption) -> bool:
    """Whether a corruption arranges rows itself instead of taking the text as it stands."""
    return type(corruption).read is not Corruption.read
