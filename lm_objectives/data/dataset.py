"""Rows from their keys, and the batches made of them.

A row is a pure function of its key: the seed, the objective, k, the number of that objective's rows before it, and the
step, where a setting moves over the training. So rows do not depend on batch size, workers, ranks or accumulation, and
a resumed run needs only the step and the log of decisions.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from lm_objectives.corruptions.base import Corruption
from lm_objectives.corruptions.random import derive_seed, permute, row_keys
from lm_objectives.corruptions.windows import SplitWindows, WindowBounds, frame_length
from lm_objectives.data.cache import TokenText
from lm_objectives.data.mixture import Mixture
from lm_objectives.data.plan import ObjectiveRows, builds_own_rows
from lm_objectives.errors import InputError
from lm_objectives.schedules import Points, value_at
from lm_objectives.views import View, Vocabulary


@dataclass(frozen=True, slots=True)
class RowKey:
    """Names a row.

    Attributes:
        objective: whose it is.
        k: its number among that objective's rows since the start.
        step: the optimizer step that reads it, by which settings move; 0 for held-out rows, whose settings stay.
    """

    objective: str
    k: int
    step: int = 0


@dataclass(frozen=True)
class RowSettings:
    """What rows depend on besides text, objectives and keys.

    Attributes:
        window: tokens of a row, or the points that they follow by steps; each divides the largest.
        seed: another one gives another order of rows and other corruptions.
        packing: whether rows hold parts of several documents, or one with padding.
        rates: each corpus's part of the rows; `None` takes all text as one.
        steps: optimizer steps in the whole training, -1 where nothing bounds it.
    """

    seq_len: int | Points
    seed: int = 0
    packing: bool = True
    rates: tuple[float, ...] | None = None
    steps: int = -1

    @property
    def max_seq_len(self) -> int:
        """Tokens of the rows that are read from the text, and cut where the window is shorter."""
        return self.seq_len if isinstance(self.seq_len, int) else int(max(value for _, value in self.seq_len))

    def splits_at(self, step: int) -> int:
        """Rows that one of the largest window is cut into at a step."""
        if isinstance(self.seq_len, int):
            return 1
        points = [list(point) for point in self.seq_len]
        return self.max_seq_len // int(value_at(points, step, self.steps, "data.seq_len", "step"))


class Batch:
    """A micro-batch: the views of each objective that has rows in it.

    No dataclass, since Lightning looks into those: under `64-true` it cannot copy a frozen one, and under `bf16-true`
    it would round the views' uniforms, from which samples are drawn.

    Attributes:
        views: by objective; an objective with `shares_rows_with` holds the same `ids` as its host.
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
    return {
        name: replace(view, input_ids=first.setdefault(id(like[name].input_ids), view.input_ids))
        for name, view in views.items()
    }


class RowDataset(Dataset[Batch]):
    """Makes micro-batches from lists of keys.

    Args:
        text: one split of the token cache.
        sources: all objectives' sources, by name.
        vocabulary: token ids for the corruptions.
        settings: what else rows depend on.
        split: name of the split; keeps its random numbers apart from the other's.

    Attributes:
        texts: the stream of tokens that each objective with rows of its own reads, by name.
        spans: where its windows start and stop there.
    """

    def __init__(
        self,
        text: TokenText,
        sources: Mapping[str, ObjectiveRows],
        vocabulary: Vocabulary,
        settings: RowSettings,
        split: str,
    ) -> None:
        self.sources, self.vocabulary, self.settings = dict(sources), vocabulary, settings
        self.texts: dict[str, TokenText] = {}
        self.windows: dict[str, WindowBounds] = {}
        self._corpora: dict[str, list[int]] = {}
        self._mixtures: dict[str, Mixture] = {}
        for name, source in self.sources.items():
            if source.shares_rows_with is None:
                self.texts[name] = stream = text.stream(source.corruption)
                self.windows[name] = spans = source.corruption.windows(stream, settings.max_seq_len, settings.packing)
                if not len(spans):
                    raise InputError(
                        f"expected a {split} text with windows for objective {name}, found none: its documents are too "
                        "short or data.seq_len is; give a larger corpus or a longer window"
                    )
                self._divide(name, spans)
        self._domains = {name: derive_seed(split, settings.seed, name) for name in sources}
        self._guests = {
            source.shares_rows_with: name for name, source in self.sources.items() if source.shares_rows_with
        }

    def _divide(self, name: str, spans: WindowBounds) -> None:
        """Find each corpus's windows, where corpora are mixed."""
        if self.settings.rates is None:
            return
        ends = [
            bisect_left(range(len(spans)), offset, key=lambda i: spans[np.array([i])][0, 0])
            for offset in self.texts[name].corpora[1:]
        ]
        starts = [0, *ends[:-1]]
        filled = [rate * (end > start) for rate, start, end in zip(self.settings.rates, starts, ends, strict=True)]
        if not sum(filled):
            raise InputError(
                f"expected windows for objective {name} in a corpus with a weight above 0, found none: "
                "change data.corpus_weights"
            )
        self._corpora[name] = [0, *ends]
        self._mixtures[name] = Mixture(filled, self.settings.seed)

    def __len__(self) -> int:
        return sum(len(spans) for spans in self.windows.values())

    def __getitem__(self, key: RowKey) -> Batch:
        return self.__getitems__([key])

    def __getitems__(self, keys: Sequence[RowKey]) -> Batch:
        numbers: dict[tuple[str, int], list[int]] = {}
        for key in keys:
            numbers.setdefault((key.objective, key.step), []).append(key.k)
        if len({host for host, _ in numbers}) < len(numbers):
            raise RuntimeError("a micro-batch of rows of several steps")
        views: dict[str, View] = {}
        tokens = 0
        for (host, step), k in numbers.items():
            views |= self._views(host, step, np.array(k))
            tokens += int(views[host].lengths.sum())
        return Batch(views, tokens)

    def _views(self, host: str, step: int, k: np.ndarray) -> dict[str, View]:
        settings, vocabulary = self.settings, self.vocabulary
        corruption, spans, window = self._at(host, step), self.windows[host][self._order(host, k)], settings.max_seq_len
        cuts = 1 if builds_own_rows(corruption) else settings.splits_at(step)
        parts = SplitWindows(spans, cuts, window // cuts - frame_length(corruption.frame)) if cuts > 1 else None

        def keys(name: str) -> np.ndarray:
            whole = row_keys(self._domains[name], k)
            return whole if parts is None else parts.keys(whole)

        read = spans if parts is None else parts.windows
        rows = corruption.read_rows(self.texts[host], read, keys(host), window // cuts, vocabulary)
        view = corruption.corrupt(rows, vocabulary)
        guest = self._guests.get(host)
        if guest is None:
            return {host: view}
        if not np.array_equal(view.input_ids.numpy(), rows.input_ids):
            raise InputError(
                f"expected a host that leaves tokens alone for shares_rows_with, found {host}, whose corruption changes them: "
                f"give {guest} rows of its own"
            )
        over = self._at(guest, step).corrupt(replace(rows, keys=keys(guest)), vocabulary)
        return {host: replace(view, input_ids=over.input_ids), guest: over}

    def _at(self, name: str, step: int) -> Corruption:
        return self.sources[name].corruption.at_step(step, self.settings.steps)

    def _order(self, host: str, k: np.ndarray) -> np.ndarray:
        """The windows of rows number `k`: a permutation of all for each epoch, or of each corpus's own."""
        base = self._domains[host]
        if host not in self._mixtures:
            return _walk(k, len(self.windows[host]), base)
        corpora = self._corpora[host]
        corpus, number = self._mixtures[host].deal(k)
        windows = np.empty_like(k)
        for which in np.unique(corpus):
            own = corpus == which
            start, end = corpora[which], corpora[which + 1]
            windows[own] = start + _walk(number[own], end - start, derive_seed(int(base), "corpus", int(which)))
        return windows


def _walk(k: np.ndarray, windows: int, base: np.uint64) -> np.ndarray:
    """The k-th of `windows` windows, in an order of its own for each epoch."""
    epoch, index = np.divmod(k, windows)
    order = np.empty_like(index)
    for number in np.unique(epoch):
        own = epoch == number
        order[own] = permute(index[own], windows, row_keys(base, np.array([-1 - number]))[0])
    return order


_ROWS, _TRIES = 64, 16  # rows of a try, and tries; most objectives score something in the first


def check_scored(rows: RowDataset) -> None:
    """Raise where an objective scores no position in any of many rows, tried over the whole training.

    Args:
        rows: the training text's rows.

    Raises:
        ValueError: for a text that is all unknown or special tokens to an objective.
    """
    unscored = set(rows.sources)
    for number in range(_TRIES):
        step = max(rows.settings.steps, 0) * number // _TRIES  # settings may move
        for host, spans in rows.windows.items():
            if unscored & {name for name, source in rows.sources.items() if host in (name, source.shares_rows_with)}:
                first = len(spans) * number // _TRIES
                keys = [RowKey(host, k, step) for k in range(first, min(first + _ROWS, len(spans)))]
                views = rows.__getitems__(keys).views
                unscored -= {name for name, view in views.items() if any(view.counts.values())}
        if not unscored:
            return
    raise InputError(
        f"expected text that objective {min(unscored)} can score, found no position to score in any row tried: it may "
        "be all unknown tokens, so give another data.tokenizer or corpus"
    )
