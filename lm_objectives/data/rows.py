"""Which rows a step reads, and the batches made of them.

A row is a pure function of its key: the seed, the objective, and k, the number of that objective's rows before it. So
rows do not depend on batch size, workers, ranks or accumulation, and a resumed run needs only the step and the log of
decisions.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from lm_objectives.corruption.base import Corruption, View, Vocabulary
from lm_objectives.corruption.keyed import domain, row_keys
from lm_objectives.corruption.permutation import permute
from lm_objectives.data.cache import TokenText

LAG = 16
"""Steps from a decision that depends on losses to the rows it changes: more than any prefetching looks ahead."""


@dataclass(frozen=True, slots=True)
class RowKey:
    """Names a row: the objective whose it is, and its number among that objective's rows since the start."""

    objective: str
    k: int


@dataclass(frozen=True)
class Source:
    """How the data half of one objective gets its rows.

    Attributes:
        corruption: makes the rows into views.
        share: its part of a step's rows, above 0; of no account where `view_of` is set.
        view_of: the objective on whose rows the corruption is applied, if not on rows of its own.
    """

    corruption: Corruption
    share: float = 1.0
    view_of: str | None = None


class Batch:
    """A micro-batch: the views of each objective that has rows in it.

    No dataclass, since Lightning looks into those: under `64-true` it cannot copy a frozen one, and under `bf16-true`
    it would round the views' uniforms, from which samples are drawn.

    Attributes:
        views: by objective; an objective with `view_of` holds the same `ids` as its host.
        tokens: tokens read in the rows, without padding; a shared row counts once.
        totals: for each objective, the count of each part of its loss over the whole optimizer step, all ranks and
            micro-batches. Known before the first backward pass, so that nobody averages averages.
    """

    def __init__(
        self, views: dict[str, View], tokens: int, totals: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        self.views, self.tokens, self.totals = views, tokens, totals or {}

    def _map(self, call: Callable[[View], View]) -> "Batch":
        views = {name: call(view) for name, view in self.views.items()}
        return Batch(_share_ids(views, self.views), self.tokens, self.totals)

    def to(self, *args: Any, **kwargs: Any) -> "Batch":
        """The batch on another device."""
        return self._map(lambda view: view.to(*args, **kwargs))

    def pin_memory(self) -> "Batch":
        """The batch in page-locked memory."""
        return self._map(View.pin_memory)


def _share_ids(views: dict[str, View], like: Mapping[str, View]) -> dict[str, View]:
    """Let views that held one tensor of ids before they were copied hold one again."""
    first: dict[int, Tensor] = {}
    return {name: replace(view, ids=first.setdefault(id(like[name].ids), view.ids)) for name, view in views.items()}


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

    Args:
        sources: all objectives' sources, by name.
        rows_per_step: rows of an optimizer step over all devices and accumulation.
        unit: what each objective's rows are a multiple of.
        decisions: who reads; by default everyone from the start.
    """

    def __init__(
        self, sources: Mapping[str, Source], rows_per_step: int, unit: int, decisions: Decisions | None = None
    ) -> None:
        check_sources(sources)
        self.hosts = {name: host_of(name, sources) for name in sources}
        self.shares = {name: source.share for name, source in sources.items() if source.view_of is None}
        self.rows_per_step, self.unit = rows_per_step, unit
        self.decisions = decisions if decisions is not None else Decisions([(0, tuple(sources))])
        self._allotted: dict[tuple[str, ...], dict[str, int]] = {}

    def _allot(self, names: tuple[str, ...]) -> dict[str, int]:
        if names not in self._allotted:
            reading = {self.hosts[name] for name in names}
            shares = {name: share for name, share in self.shares.items() if name in reading}
            self._allotted[names] = allot(shares, self.rows_per_step, self.unit)
        return self._allotted[names]

    def rows(self, step: int) -> dict[str, int]:
        """Rows at `step` by objective, those without any left out."""
        return self._allot(self.decisions.at(step))

    def before(self, step: int) -> dict[str, int]:
        """Rows that each objective has read before `step`."""
        counts = dict.fromkeys(self.shares, 0)
        entries = self.decisions.entries
        ends = [start for start, _ in entries[1:]] + [step]
        for (start, names), end in zip(entries, ends, strict=True):
            for name, rows in self._allot(names).items():
                counts[name] += rows * max(min(end, step) - start, 0)
        return counts


def host_of(name: str, sources: Mapping[str, Source]) -> str:
    """The objective whose rows `name` reads."""
    return sources[name].view_of or name


def check_sources(sources: Mapping[str, Source]) -> None:
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
        if source.corruption.attention != sources[host].corruption.attention:
            raise ValueError(
                f"expected objective {name} to read a view of its own attention pattern "
                f"({source.corruption.attention}), found {host} with {sources[host].corruption.attention}: "
                "give it rows of its own"
            )
        if type(source.corruption).read is not Corruption.read:
            raise ValueError(
                f"expected an objective that changes tokens to read the view of {host}, found {name}, which arranges "
                "rows itself: give it rows of its own"
            )
        guests[host] = name


class MicroBatches(Sampler[list[RowKey]]):
    """The keys of one rank's micro-batches, from an optimizer step on without end.

    An objective's n rows of a step are dealt in blocks: micro-batch m of rank r gets block m × world + r.
    """

    def __init__(self, plan: Plan, start: int, rank: int, world: int, accumulate: int) -> None:
        if plan.unit % (world * accumulate):
            raise ValueError(
                f"expected devices x accumulate_grad_batches to divide data.unit ({plan.unit}), found "
                f"{world} x {accumulate}: set data.unit to {world * accumulate} or a multiple of it"
            )
        self.plan, self.start, self.rank, self.world, self.accumulate = plan, start, rank, world, accumulate

    def __iter__(self) -> Iterator[list[RowKey]]:
        step, before = self.start, self.plan.before(self.start)
        while True:
            rows = self.plan.rows(step)
            for micro in range(self.accumulate):
                keys = []
                for name, count in rows.items():
                    size = count // (self.world * self.accumulate)
                    first = before[name] + (micro * self.world + self.rank) * size
                    keys += [RowKey(name, k) for k in range(first, first + size)]
                yield keys
            for name, count in rows.items():
                before[name] += count
            step += 1


class RowDataset(Dataset[Batch]):
    """Makes micro-batches from lists of keys.

    Args:
        text: one split of the token cache.
        sources: all objectives' sources, by name.
        vocabulary: token ids for the corruptions.
        window: tokens of a row.
        seed: another one gives another order of rows and other corruptions.
        split: name of the split; keeps its random numbers apart from the other's.
    """

    def __init__(
        self,
        text: TokenText,
        sources: Mapping[str, Source],
        vocabulary: Vocabulary,
        window: int,
        seed: int,
        split: str,
    ) -> None:
        self.text, self.sources, self.vocabulary, self.window = text, dict(sources), vocabulary, window
        self.spans: dict[str, np.ndarray] = {}
        for name, source in self.sources.items():
            if source.view_of is None:
                self.spans[name] = source.corruption.spans(text, window)
                if not len(self.spans[name]):
                    raise ValueError(
                        f"expected a {split} text with windows for objective {name}, found none: "
                        "give a larger corpus or a longer data.window"
                    )
        self._domains = {name: domain(split, seed, name) for name in sources}
        self._guests = {source.view_of: name for name, source in self.sources.items() if source.view_of}

    def __len__(self) -> int:
        return sum(len(spans) for spans in self.spans.values())

    def __getitem__(self, key: RowKey) -> Batch:
        return self.__getitems__([key])

    def __getitems__(self, keys: Sequence[RowKey]) -> Batch:
        numbers: dict[str, list[int]] = {}
        for key in keys:
            numbers.setdefault(key.objective, []).append(key.k)
        views: dict[str, View] = {}
        tokens = 0
        for host, k in numbers.items():
            views |= self._views(host, np.array(k))
            tokens += int(views[host].lengths.sum())
        return Batch(views, tokens)

    def _views(self, host: str, k: np.ndarray) -> dict[str, View]:
        corruption, base = self.sources[host].corruption, self._domains[host]
        spans = self.spans[host]
        epoch, index = np.divmod(k, len(spans))
        order = np.empty_like(index)
        for number in np.unique(epoch):
            own = epoch == number
            order[own] = permute(index[own], len(spans), row_keys(base, np.array([-1 - number]))[0])
        rows = corruption.read(self.text, spans[order], row_keys(base, k), self.window, self.vocabulary)
        view = corruption.corrupt(rows, self.vocabulary)
        guest = self._guests.get(host)
        if guest is None:
            return {host: view}
        if not np.array_equal(view.ids.numpy(), rows.ids):
            raise ValueError(
                f"expected a host that leaves tokens alone for view_of, found {host}, whose corruption changes them: "
                f"give {guest} rows of its own"
            )
        again = replace(rows, keys=row_keys(self._domains[guest], k), ids=view.ids.numpy())
        over = self.sources[guest].corruption.corrupt(again, self.vocabulary)
        return {host: replace(view, ids=over.ids), guest: over}


class StepLoader:
    """Micro-batches that know the counts of their whole optimizer step.

    An iterable rather than a `DataLoader`, so that a Trainer puts no sampler of its own into it.

    Args:
        loader: makes a fresh iterator of micro-batches that starts at the right step.
        length: micro-batches of a bookkeeping epoch.
        accumulate: micro-batches of an optimizer step.
        reduce: sums a tensor over all ranks.
    """

    def __init__(
        self,
        loader: Callable[[], Iterable[Batch]],
        length: int,
        accumulate: int,
        reduce: Callable[[Tensor], Tensor] | None,
    ) -> None:
        self._loader, self._length, self._accumulate, self._reduce = loader, length, accumulate, reduce

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Batch]:
        batches = iter(self._loader())
        while group := list(islice(batches, self._accumulate)):
            totals = self._totals(group)
            for batch in group:
                yield Batch(batch.views, batch.tokens, totals)

    def state_dict(self) -> dict[str, Any]:
        """Nothing: rows follow from the trainer's step, with which each iteration starts anew."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to restore; says to Lightning that a run may go on in the middle of an epoch."""

    def _totals(self, group: Sequence[Batch]) -> dict[str, dict[str, Any]]:
        """Counts of the whole step: numbers on one process, tensors of one element on the device on several."""
        totals: dict[str, dict[str, Any]] = {}
        for batch in group:
            for name, view in batch.views.items():
                own = totals.setdefault(name, dict.fromkeys(view.counts, 0))
                for part, count in view.counts.items():
                    own[part] += count
        if self._reduce is None:
            return totals
        flat = torch.tensor([count for parts in totals.values() for count in parts.values()])
        summed = iter(self._reduce(flat).unbind())
        return {name: {part: next(summed) for part in parts} for name, parts in totals.items()}
