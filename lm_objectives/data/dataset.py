"""The dataset of rows, and the batches made of them.

A row is a pure function of its key: the seed, the objective, k, the number of that objective's rows before it, and the
step, where a setting moves over the training. So rows do not depend on batch size, workers, ranks or accumulation, and
a resumed run needs only the step and the activity log.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from lm_objectives.corruptions.base import Corruption, check_attention
from lm_objectives.corruptions.random import derive_seed, permute, row_keys
from lm_objectives.corruptions.windows import SplitWindows, WindowBounds, frame_length
from lm_objectives.data.cache import TokenText
from lm_objectives.data.mixture import Mixture
from lm_objectives.data.plan import ObjectiveRows, builds_own_rows
from lm_objectives.errors import InputError, expect
from lm_objectives.ranges import is_within
from lm_objectives.schedules import check_points, value_at
from lm_objectives.views import Rows, View, Vocabulary


@dataclass(frozen=True, slots=True)
class RowKey:
    """The key of a row.

    Attributes:
        objective: the name of its objective.
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
        seq_len: tokens of a row, or the points that they follow by steps; each divides the largest.
        seed: another one gives another order of rows and other corruptions.
        packing: whether rows hold parts of several documents, or one with padding.
        rates: each corpus's part of the rows; `None` takes all text as one.
        steps: optimizer steps in the whole training, -1 where nothing bounds it.
    """

    seq_len: int | list[list[int | float]]
    seed: int = 0
    packing: bool = True
    rates: tuple[float, ...] | None = None
    steps: int = -1

    @property
    def max_seq_len(self) -> int:
        """Tokens of the rows that are read from the text, and cut where `seq_len` is smaller."""
        return self.seq_len if isinstance(self.seq_len, int) else int(max(value for _, value in self.seq_len))

    def splits_at(self, step: int) -> int:
        """Rows that one of the largest length is cut into at a step."""
        if isinstance(self.seq_len, int):
            return 1
        return self.max_seq_len // int(value_at(self.seq_len, step, self.steps, "data.seq_len", "step"))


def check_seq_len(seq_len: int | list[list[int | float]]) -> int:
    """The largest of the lengths of a row, each checked to divide it."""
    points: list[list[int | float]] = [[0, seq_len]] if isinstance(seq_len, int) else seq_len
    check_points(points, _check_window, "data.seq_len")
    largest = RowSettings(points).max_seq_len
    for _, tokens in points:
        mend = "128, 256, 512 do, for example"
        expect(not largest % tokens, f"windows in data.seq_len that divide the largest, {largest}", tokens, mend)
    return largest


def _check_window(tokens: float) -> None:
    expected = "data.seq_len of whole tokens, at most a billion"
    expect(is_within(tokens, most=1e9) and tokens == int(tokens), expected, tokens, "128 and 512 do, for example")
    expect(tokens >= 8, "data.seq_len of at least 8", int(tokens), "raise it")


class Batch:
    """A micro-batch: the views of each objective that has rows in it.

    No dataclass, since Lightning looks into those: under `64-true` it cannot copy a frozen one, and under `bf16-true`
    it would round the views' noise, from which samples are drawn.

    Attributes:
        views: by objective; one with `shares_rows_with` holds the same `input_ids` as the owner of its rows.
        tokens: tokens read in the rows, without padding; a shared row counts once.
        totals: for each objective, the count of each part of its loss over the whole optimizer step, all ranks and
            micro-batches. Known before the first backward pass, so that no averages are averaged.
    """

    def __init__(
        self, views: dict[str, View], tokens: int, totals: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        self.views, self.tokens, self.totals = views, tokens, totals or {}

    def _map(self, call: Callable[[View], View]) -> "Batch":
        views: dict[str, View] = {}
        copies: dict[int, Tensor] = {}  # views that hold one tensor of ids hold one again
        for name, view in self.views.items():
            copy = call(view)
            views[name] = replace(copy, input_ids=copies.setdefault(id(view.input_ids), copy.input_ids))
        return Batch(views, self.tokens, self.totals)

    def to(self, *args: Any, **kwargs: Any) -> "Batch":
        """The batch on another device."""
        return self._map(lambda view: view.to(*args, **kwargs))

    def pin_memory(self) -> "Batch":
        """The batch in page-locked memory."""
        return self._map(View.pin_memory)


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
        windows: where its windows start and stop there.
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
        self._mixtures: dict[str, tuple[list[int], Mixture]] = {}  # where each corpus's windows start, and the mixture
        for name, source in self.sources.items():
            if source.shares_rows_with is None:
                self.texts[name] = stream = text.stream(source.corruption)
                self.windows[name] = source.corruption.windows(stream, settings.max_seq_len, settings.packing)
                mend = "its documents are too short or data.seq_len is; give a larger corpus or a larger data.seq_len"
                expect(bool(len(self.windows[name])), f"a {split} text with windows for objective {name}", "none", mend)
                if settings.rates is not None:
                    self._mix(name, settings.rates)
        self._seeds = {name: derive_seed(split, settings.seed, name) for name in sources}
        self._readers = {
            source.shares_rows_with: name for name, source in self.sources.items() if source.shares_rows_with
        }

    def _mix(self, name: str, rates: Sequence[float]) -> None:
        """Find each corpus's windows of an objective, and mix them at the rates of those that have any."""
        windows = self.windows[name]
        bounds = [
            bisect_left(range(len(windows)), offset, key=lambda i: windows[np.array([i])][0, 0])
            for offset in self.texts[name].corpora
        ]
        filled = [rate * (start < stop) for rate, (start, stop) in zip(rates, pairwise(bounds), strict=True)]
        mend = "change data.corpus_weights"
        expect(bool(sum(filled)), f"windows for objective {name} in a corpus with a weight above 0", "none", mend)
        self._mixtures[name] = bounds, Mixture(filled, self.settings.seed)

    def __len__(self) -> int:
        return sum(map(len, self.windows.values()))

    def __getitem__(self, key: RowKey) -> Batch:
        return self.__getitems__([key])

    def __getitems__(self, keys: Sequence[RowKey]) -> Batch:
        numbers: dict[tuple[str, int], list[int]] = {}
        for key in keys:
            numbers.setdefault((key.objective, key.step), []).append(key.k)
        if len({owner for owner, _ in numbers}) < len(numbers):
            raise RuntimeError("a micro-batch of rows of several steps")
        views: dict[str, View] = {}
        tokens = 0
        for (owner, step), k in numbers.items():
            views |= self._views(owner, step, np.array(k))
            tokens += int(views[owner].lengths.sum())
        return Batch(views, tokens)

    def _views(self, owner: str, step: int, k: np.ndarray) -> dict[str, View]:
        """Views of rows number `k` of an objective, and of the one that shares them."""
        settings, vocabulary = self.settings, self.vocabulary
        corruption, windows = self._corruption(owner, step), self.windows[owner][self._order(owner, k)]
        cuts = 1 if builds_own_rows(corruption) else settings.splits_at(step)
        seq_len = settings.max_seq_len // cuts
        split = SplitWindows(windows, cuts, seq_len - frame_length(corruption.frame)) if cuts > 1 else None

        def keys(name: str) -> np.ndarray:
            whole = row_keys(self._seeds[name], k)
            return whole if split is None else split.keys(whole)

        read = windows if split is None else split.windows
        rows = corruption.read_rows(self.texts[owner], read, keys(owner), seq_len, vocabulary)
        view = _corrupt(corruption, rows, vocabulary)
        reader = self._readers.get(owner)
        if reader is None:
            return {owner: view}
        if not np.array_equal(view.input_ids.numpy(), rows.input_ids):
            raise InputError(
                f"expected an objective that leaves tokens alone for shares_rows_with, found {owner}, whose corruption "
                f"changes them: give {reader} rows of its own"
            )
        over = _corrupt(self._corruption(reader, step), replace(rows, keys=keys(reader)), vocabulary)
        return {owner: replace(view, input_ids=over.input_ids), reader: over}

    def _corruption(self, name: str, step: int) -> Corruption:
        return self.sources[name].corruption.at_step(step, self.settings.steps)

    def _order(self, owner: str, k: np.ndarray) -> np.ndarray:
        """The windows of rows number `k`: a permutation of all for each epoch, or of each corpus's own."""
        seed = self._seeds[owner]
        if owner not in self._mixtures:
            return _shuffle(k, len(self.windows[owner]), seed)
        bounds, mixture = self._mixtures[owner]
        corpus, number = mixture.deal(k)
        windows = np.empty_like(k)
        for which in np.unique(corpus):
            own = corpus == which
            start, end = bounds[which], bounds[which + 1]
            windows[own] = start + _shuffle(number[own], end - start, derive_seed(int(seed), "corpus", int(which)))
        return windows


def _shuffle(k: np.ndarray, windows: int, seed: np.uint64) -> np.ndarray:
    """The k-th of `windows` windows, in an order of its own for each epoch."""
    epoch, index = np.divmod(k, windows)
    order = np.empty_like(index)
    for number in np.unique(epoch):
        own = epoch == number
        order[own] = permute(index[own], windows, row_keys(seed, np.array([-1 - number]))[0])
    return order


def _corrupt(corruption: Corruption, rows: Rows, vocabulary: Vocabulary) -> View:
    """The view of rows, its attention checked."""
    view = corruption.corrupt(rows, vocabulary)
    check_attention(view, corruption)
    return view
