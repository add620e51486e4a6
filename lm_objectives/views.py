"""Batches on their way from text to a model: vocabulary, text, rows and views."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lm_objectives.errors import expect
from lm_objectives.plugin import plain_fields

Attention = Literal["causal", "bidirectional", "prefix"]

IGNORED = -100
"""The label of a position that is not scored, as transformers and `torch.nn.functional.cross_entropy` have it."""


@dataclass(frozen=True)
class Vocabulary:
    """The token ids that corruptions and heads need to know of a tokenizer.

    Attributes:
        size: rows of the embedding.
        pad, bos, eos, mask: ids of the special tokens (bos is BERT's `[CLS]`, eos its `[SEP]`).
        special: ids that are never masked, sampled as a random token, or scored as one.
        named_tokens: ids of the further special tokens that corruptions ask for (see `Corruption.special_tokens`).
        added: ids of tokens that were added to a pretrained tokenizer, for which its weights have no rows.
        starts_word: whether a token begins a word, `(vocab,)`; `None` where no tokenizer is at hand.
        breaks_line: whether a token ends in a line break or a tab, after which a word begins, `(vocab,)`; `None` as
            above.
    """

    size: int
    pad: int
    bos: int
    eos: int
    mask: int
    special: tuple[int, ...] = ()
    named_tokens: tuple[tuple[str, int], ...] = ()
    added: tuple[int, ...] = ()
    starts_word: np.ndarray | None = field(default=None, repr=False, compare=False)
    breaks_line: np.ndarray | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        plain_fields(self)

    def to_dict(self) -> dict[str, Any]:
        """All but the arrays, as plain data for JSON and checkpoints."""
        plain = {item.name: getattr(self, item.name) for item in fields(self) if item.compare}
        named = [list(pair) for pair in self.named_tokens]
        return {**plain, "special": list(self.special), "added": list(self.added), "named_tokens": named}

    @staticmethod
    def from_dict(ids: dict[str, Any], **words: np.ndarray) -> "Vocabulary":
        """The vocabulary that `ids` wrote down."""
        named = tuple((str(token), int(number)) for token, number in ids.get("named_tokens", ()))
        lists = {"special": tuple(ids["special"]), "added": tuple(ids.get("added", ())), "named_tokens": named}
        return Vocabulary(**{**ids, **lists, **words})

    def token_ids(self, tokens: Sequence[str]) -> np.ndarray:
        """Ids of special tokens that a corruption has asked for, `(tokens,)`.

        Raises:
            InputError: where the vocabulary lacks one.
        """
        named = dict(self.named_tokens)
        for token in tokens:
            mend = "prepare the corpus with the objectives that are trained"
            expect(token in named, f"the special token {token} in the tokenizer", "none", mend)
        return np.array([named[token] for token in tokens], dtype=np.int64)


@runtime_checkable  # beartype checks signatures under pytest
class Text(Protocol):
    """Tokenized documents one after another, as the token cache holds them (see `data.cache.TokenText`)."""

    @property
    def tokens(self) -> np.ndarray:
        """Ids of all documents, `(tokens,)`; a document is bos, its text, eos."""

    @property
    def sentences(self) -> np.ndarray:
        """Where each starts and stops in `tokens`, `(sentences, 2)`; those of a paragraph follow one another.

        Bos, eos and the white space between paragraphs lie in none.
        """

    @property
    def paragraphs(self) -> np.ndarray:
        """Number of the first sentence of each paragraph, and of all sentences at the end, `(paragraphs + 1,)`."""

    @property
    def documents(self) -> np.ndarray:
        """Where each document starts in `tokens`, and where the last stops, `(documents + 1,)`."""

    def __hash__(self) -> int:
        """By identity, so that what is found out about a text can be kept."""


@dataclass(frozen=True, eq=False)
class View:
    """What an objective reads.

    Attributes:
        input_ids: tokens, padded on the right.
        lengths: tokens of each row that are not padding.
        attention: whether a position sees those before it, all, or those before it and all of a prefix.
        label_positions: flat positions, `row * time + position`, that the loss is over, ascending.
        targets: what is right at each scored position: a token id, or a label.
        counts: number of terms of each part of the loss; what the sums of the whole step are divided by.
        padded: whether any row has padding, known here so that a device need not be asked.
        position_ids: place of each token within its document's part of the row; a new part starts at each 0, and sees
            only itself. `None` where every row is one part.
        prefix_lengths: tokens at the start of each row that see one another, where `attention` is "prefix".
        decoder_labels: what a decoder predicts, padded on the right, where there is one: it reads the same, shifted
            right after the start token of its family. `label_positions` are then its own, `row * width + position`.
        token_type_ids: 0 for a pair's first segment and 1 for its second, where rows are pairs.
        sampling_noise: one random number in [0, 1) for each scored position, where the model's half samples.
        extra: further tensors that an objective's halves hand one another.
    """

    input_ids: Int[Tensor, "rows time"]
    lengths: Int[Tensor, " rows"]
    attention: Attention
    label_positions: Int[Tensor, " label_positions"]
    targets: Int[Tensor, " label_positions"]
    counts: dict[str, int]
    padded: bool = False
    position_ids: Int[Tensor, "rows time"] | None = None
    prefix_lengths: Int[Tensor, " rows"] | None = None
    decoder_labels: Int[Tensor, "rows target_time"] | None = None
    token_type_ids: Int[Tensor, "rows time"] | None = None
    sampling_noise: Float[Tensor, " label_positions"] | None = None
    extra: dict[str, Tensor] = field(default_factory=dict)

    def _map(self, call: Any) -> "View":
        moved: dict[str, Any] = {
            f.name: call(value) for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)
        }
        return replace(self, **moved, extra={name: call(value) for name, value in self.extra.items()})

    def to(self, *args: Any, **kwargs: Any) -> "View":
        """The view on another device; only a device may be given. Page-locked tensors are not waited for."""
        return self._map(lambda tensor: tensor.to(*args, **{"non_blocking": tensor.is_pinned()} | kwargs))

    def pin_memory(self) -> "View":
        """The view in page-locked memory."""
        return self._map(Tensor.pin_memory)


@dataclass(frozen=True)
class Rows:
    """Clean rows on their way to a view: what was read, before anything is corrupted.

    Attributes:
        keys: a 64-bit number for each row, from which all its random numbers are drawn, `(rows,)`.
        input_ids: tokens padded on the right, `(rows, time)`.
        lengths: tokens of each row that are not padding, `(rows,)`.
        position_ids: as in `View`.
        sentence_starts: where a sentence starts, `(rows, time)`, for corruptions that ask for it.
        token_type_ids: as in `View`.
        labels: one label for each row, for corruptions that decide something about a row as a whole.
    """

    keys: np.ndarray
    input_ids: np.ndarray
    lengths: np.ndarray
    position_ids: np.ndarray | None = None
    sentence_starts: np.ndarray | None = None
    token_type_ids: np.ndarray | None = None
    labels: np.ndarray | None = None

    def labelled(self, input_ids: np.ndarray, labels: np.ndarray, attention: Attention = "bidirectional") -> View:
        """A view of `input_ids` with the label of each position, or of each row; its loss is over the labels.

        Label t is predicted from hidden state t: unlike the models of transformers, ours do not shift labels (see
        `next_token_labels`).

        >>> import numpy as np
        >>> from lm_objectives import Rows
        >>> ids = np.array([[1, 5, 6, 2], [1, 7, 2, 0]])
        >>> rows = Rows(keys=np.arange(2, dtype=np.uint64), input_ids=ids, lengths=np.array([4, 3]))
        >>> view = rows.labelled(ids, np.array([[-100, 8, -100, -100], [-100, 9, -100, -100]]))
        >>> view.label_positions, view.targets, view.counts
        (tensor([1, 5]), tensor([8, 9]), {'loss': 2})
        >>> rows.labelled(ids, ids == 2).targets
        tensor([0, 0, 0, 1, 0, 0, 1])
        >>> rows.labelled(ids, np.array([1, 0])).label_positions
        tensor([0, 4])

        Args:
            input_ids: what the model reads, `(rows, time)`.
            labels: `(rows, time)`, -100 where a position is not scored, nor is one beyond its row's length; or
                `(rows,)`, scored at each row's first position: set the corruption's `supports_packing` to False, or a
                row may hold several documents. Booleans count as 0 and 1.
            attention: as in `View`; the same that the corruption's `attention` says.

        Raises:
            InputError: for labels of another shape.
        """
        expected = f"labels of shape {input_ids.shape}, or {input_ids.shape[:1]} for one label a row"
        mend = "give each position of input_ids a label, -100 where it is not scored"
        expect(labels.shape in (input_ids.shape, input_ids.shape[:1]), expected, labels.shape, mend)
        scored = np.arange(input_ids.shape[1]) < (self.lengths[:, None] if labels.ndim == 2 else 1)
        labels = np.broadcast_to(labels if labels.ndim == 2 else labels[:, None], input_ids.shape)
        label_positions = np.flatnonzero(scored & (labels != IGNORED))
        targets = labels.ravel()[label_positions].astype(np.int64)
        return self.to_view(input_ids, attention, label_positions, targets, {"loss": len(targets)})

    def to_view(
        self,
        input_ids: np.ndarray,
        attention: Attention,
        label_positions: np.ndarray,
        targets: np.ndarray,
        counts: dict[str, int],
        sampling_noise: np.ndarray | None = None,
    ) -> View:
        """A view of `input_ids`, `(rows, time)`, with the lengths, positions and segments of these rows, as tensors.

        The arguments are as in `View`.
        """
        return View(
            input_ids=torch.from_numpy(input_ids),
            lengths=torch.from_numpy(self.lengths),
            attention=attention,
            label_positions=torch.from_numpy(label_positions),
            targets=torch.from_numpy(targets),
            counts=counts,
            padded=bool((self.lengths < input_ids.shape[1]).any()),
            position_ids=None if self.position_ids is None else torch.from_numpy(self.position_ids),
            token_type_ids=None if self.token_type_ids is None else torch.from_numpy(self.token_type_ids),
            sampling_noise=None if sampling_noise is None else torch.from_numpy(sampling_noise),
        )


def gather_positions(
    hidden: Float[Tensor, "rows time dim"], positions: Int[Tensor, " positions"]
) -> Float[Tensor, "positions dim"]:
    """The hidden states at flat positions, `row * time + position`, so that a head runs on these alone."""
    return hidden.flatten(0, 1).index_select(0, positions)
