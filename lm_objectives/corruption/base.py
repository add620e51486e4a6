"""The contract of a corruption, the data half of an objective, and the view that it makes."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

Attention = Literal["causal", "bidirectional"]


@dataclass(frozen=True)
class Vocabulary:
    """The token ids that corruptions and heads need to know of a tokenizer.

    Attributes:
        size: rows of the embedding.
        pad, bos, eos, mask: ids of the special tokens (bos is BERT's `[CLS]`, eos its `[SEP]`).
        special: ids that are never masked, sampled as a random token, or scored as one.
        unigram: nats of each token under the add-one unigram model of the training documents, size `(vocab,)`: the
            yardstick that uses no context. `None` where no corpus is at hand, as when a model is only loaded.
    """

    size: int
    pad: int
    bos: int
    eos: int
    mask: int
    special: tuple[int, ...] = ()
    unigram: np.ndarray | None = field(default=None, repr=False, compare=False)


@runtime_checkable  # beartype checks signatures under pytest
class Text(Protocol):
    """Tokenized documents one after another, as the token cache holds them (see `data.cache.TokenText`)."""

    @property
    def tokens(self) -> np.ndarray:
        """Ids of all documents, `(tokens,)`; a document is bos, sentences with a separator between paragraphs, eos."""

    @property
    def sentences(self) -> np.ndarray:
        """Where each sentence starts and stops in `tokens`, `(sentences, 2)`; bos, eos, separators lie in none."""

    @property
    def paragraphs(self) -> np.ndarray:
        """Number of the first sentence of each paragraph, and of all sentences at the end, `(paragraphs + 1,)`."""

    @property
    def documents(self) -> np.ndarray:
        """Where each document starts in `tokens`, and where the last stops, `(documents + 1,)`."""


@dataclass(frozen=True, eq=False)
class View:
    """What an objective reads.

    Attributes:
        ids: input tokens, padded on the right.
        lengths: tokens of each row that are not padding.
        attention: whether a position sees those before it, or all.
        scored: flat positions, `row * time + position`, that the loss is over, ascending.
        targets: what is right at each scored position: a token id, or a label.
        counts: number of terms of each part of the loss; what the sums of the whole step are divided by.
        padded: whether any row has padding, known here so that a device need not be asked.
        segments: 0 for a pair's first segment and 1 for its second, where rows are pairs.
        uniforms: one random number in [0, 1) for each scored position, where the model's half samples.
        extra: further tensors that an objective's halves hand one another.
    """

    ids: Int[Tensor, "rows time"]
    lengths: Int[Tensor, " rows"]
    attention: Attention
    scored: Int[Tensor, " scored"]
    targets: Int[Tensor, " scored"]
    counts: dict[str, int]
    padded: bool = False
    segments: Int[Tensor, "rows time"] | None = None
    uniforms: Float[Tensor, " scored"] | None = None
    extra: dict[str, Tensor] = field(default_factory=dict)

    def _map(self, call: Any) -> "View":
        moved: dict[str, Any] = {
            f.name: call(value) for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)
        }
        return replace(self, **moved, extra={name: call(value) for name, value in self.extra.items()})

    def to(self, *args: Any, **kwargs: Any) -> "View":
        """The view on another device; its tensors are integers and stay so."""
        return self._map(lambda tensor: tensor.to(*args, **kwargs))

    def pin_memory(self) -> "View":
        """The view in page-locked memory."""
        return self._map(Tensor.pin_memory)


@dataclass(frozen=True)
class Rows:
    """Clean rows on their way to a view: what was read, before anything is corrupted.

    Attributes:
        keys: a 64-bit number for each row, from which all its random numbers are drawn, `(rows,)`.
        ids: tokens padded on the right, `(rows, time)`.
        lengths: tokens of each row that are not padding, `(rows,)`.
        segments: as in `View`.
        labels: one label for each row, for corruptions that decide something about a row as a whole.
    """

    keys: np.ndarray
    ids: np.ndarray
    lengths: np.ndarray
    segments: np.ndarray | None = None
    labels: np.ndarray | None = None


class Corruption(ABC):
    """From text to input and target, as a pure function of each row's key.

    Plain data: no parameters, picklable, the same in every worker. Its random numbers come from `corruption.keyed`
    alone, so a row does not depend on batch size, workers, ranks, accumulation or a resume.
    """

    attention: Attention = "bidirectional"

    def spans(self, text: Text, window: int) -> np.ndarray:
        """Where each of the objective's windows starts and stops in `text.tokens`, `(windows, 2)`.

        An epoch of the objective is all of them, each once. The default cuts the stream every `window` tokens, and
        leaves out a last token that would be alone.
        """
        starts = np.arange(0, len(text.tokens) - 1, window)
        return np.stack([starts, np.minimum(starts + window, len(text.tokens))], axis=1)

    def read(self, text: Text, spans: np.ndarray, keys: np.ndarray, window: int, vocabulary: Vocabulary) -> Rows:
        """Clean rows of the `spans`, `(rows, 2)`. The default copies the tokens as they stand."""
        ids, lengths = pad_rows([text.tokens[start:stop] for start, stop in spans], window, vocabulary.pad)
        return Rows(keys, ids, lengths)

    @abstractmethod
    def corrupt(self, rows: Rows, vocabulary: Vocabulary) -> View:
        """Input and target from clean rows; must not write into `rows`."""

    def validating(self) -> "Corruption":
        """The corruption that held-out rows are made with, the same whatever a run trains with."""
        return self


def as_view(
    rows: Rows,
    ids: np.ndarray,
    attention: Attention,
    scored: np.ndarray,
    targets: np.ndarray,
    counts: dict[str, int],
    uniforms: np.ndarray | None = None,
) -> View:
    """A view of `ids` in the shape of `rows`, as tensors."""
    return View(
        ids=torch.from_numpy(ids),
        lengths=torch.from_numpy(rows.lengths),
        attention=attention,
        scored=torch.from_numpy(scored),
        targets=torch.from_numpy(targets),
        counts=counts,
        padded=bool((rows.lengths < ids.shape[1]).any()),
        segments=None if rows.segments is None else torch.from_numpy(rows.segments),
        uniforms=None if uniforms is None else torch.from_numpy(uniforms),
    )


def pad_rows(rows: Sequence[np.ndarray], window: int, pad: int) -> tuple[np.ndarray, np.ndarray]:
    """Ragged rows as one array padded on the right, `(rows, window)`, and their lengths."""
    ids = np.full((len(rows), window), pad, dtype=np.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
    return ids, np.array([len(row) for row in rows], dtype=np.int64)
