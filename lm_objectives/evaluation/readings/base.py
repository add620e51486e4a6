"""The base classes of readings: from tokenized texts to a score of each token."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lm_objectives.corruptions.sampling import concatenated_ranges
from lm_objectives.corruptions.word_units import units_of
from lm_objectives.evaluation.texts import Texts
from lm_objectives.objectives.losses import TokenHead, token_log_probs
from lm_objectives.views import Attention, Rows, View, Vocabulary

if TYPE_CHECKING:
    from lm_objectives.objectives.base import Objective
    from lm_objectives.training.module import Pretraining


@dataclass(frozen=True, eq=False)
class Spans:
    """Which tokens of which text each row of a reading scores; `(rows,)` each, tokens counted within the text.

    Attributes:
        text: number of the text.
        starts, stops: the tokens that are scored.
        hidden: where those stop that the row hides from the model, which start at `starts`.
    """

    text: np.ndarray
    starts: np.ndarray
    stops: np.ndarray
    hidden: np.ndarray

    def __getitem__(self, which: np.ndarray) -> "Spans":
        return Spans(self.text[which], self.starts[which], self.stops[which], self.hidden[which])


@dataclass(frozen=True, eq=False)
class TextRows:
    """Rows of whole texts, and what of each is scored.

    Attributes:
        ids: tokens without special ones, padded on the right, `(rows, time)`.
        lengths: tokens of each row, `(rows,)`.
        spans: what is scored and hidden of each.
    """

    ids: np.ndarray
    lengths: np.ndarray
    spans: Spans

    @property
    def counts(self) -> np.ndarray:
        """Scored tokens of each row, `(rows,)`."""
        return self.spans.stops - self.spans.starts

    @property
    def targets(self) -> np.ndarray:
        """The scored tokens of all rows, `(scored,)`."""
        return self.ids.ravel()[self.flat(self.ids.shape[1])]

    def flat(self, time: int, shift: int | np.ndarray = 0) -> np.ndarray:
        """Flat positions of the scored tokens in rows of `time` places, `shift` to the right, `(scored,)`."""
        return concatenated_ranges(np.arange(len(self.ids)) * time + self.spans.starts + shift, self.counts)

    def hide(self, token: int) -> np.ndarray:
        """The ids with `token` in place of each that is hidden, `(rows, time)`."""
        place = np.arange(self.ids.shape[1])
        hidden = (place >= self.spans.starts[:, None]) & (place < self.spans.hidden[:, None])
        return np.where(hidden, token, self.ids)

    def replace_span(self, token: int, pad: int) -> tuple[np.ndarray, np.ndarray]:
        """The ids with one `token` in place of all that are hidden, `(rows, time)`, and the lengths."""
        place, starts = np.arange(self.ids.shape[1]), self.spans.starts[:, None]
        gone = (self.spans.hidden - self.spans.starts - 1)[:, None]
        source = np.minimum(place + np.where(place > starts, gone, 0), self.ids.shape[1] - 1)
        ids, lengths = np.take_along_axis(self.ids, source, 1), self.lengths - gone[:, 0]
        ids = np.where(place == starts, token, ids)
        ids[place >= lengths[:, None]] = pad
        return ids[:, : int(lengths.max(initial=1))], lengths

    def hidden_tokens(self, pad: int) -> tuple[np.ndarray, np.ndarray]:
        """The tokens that are hidden, padded on the right, `(rows, most)`, and how many each row has."""
        lengths = self.spans.hidden - self.spans.starts
        place = np.arange(int(lengths.max(initial=1)))
        source = np.minimum(self.spans.starts[:, None] + place, self.ids.shape[1] - 1)
        return np.where(place < lengths[:, None], np.take_along_axis(self.ids, source, 1), pad), lengths


def frame(
    ids: np.ndarray, lengths: np.ndarray, prefix: tuple[int, ...], suffix: tuple[int, ...], pad: int
) -> tuple[np.ndarray, np.ndarray]:
    """Padded ids with special tokens before and after each row's own, `(rows, longer time)`, and the lengths."""
    rows, (before, after) = len(ids), (len(prefix), len(suffix))
    framed = np.full((rows, before + ids.shape[1] + after), pad, dtype=np.int64)
    framed[:, :before], framed[:, before : before + ids.shape[1]] = prefix, ids
    ends = np.arange(rows)[:, None], (before + lengths)[:, None] + np.arange(after)
    framed[ends] = suffix
    return framed, lengths + before + after


def make_view(
    ids: np.ndarray,
    lengths: np.ndarray,
    attention: Attention,
    label_positions: np.ndarray,
    targets: np.ndarray,
    prefix_lengths: np.ndarray | None = None,
    decoder_labels: np.ndarray | None = None,
) -> View:
    """The view of rows, as in `View`."""
    rows = Rows(np.zeros(len(ids), dtype=np.uint64), ids, lengths)
    return replace(
        rows.to_view(ids, attention, label_positions, targets, {"loss": len(targets)}),
        prefix_lengths=None if prefix_lengths is None else torch.from_numpy(prefix_lengths),
        decoder_labels=None if decoder_labels is None else torch.from_numpy(decoder_labels),
    )


class Reading:
    """A way to ask a trained head; what it answers belongs to the model and the reading, never to the model alone.

    Args:
        objective: whose head is asked.
    """

    held_out: Literal["tokens", "metrics"] | None = None
    """What it says of its objective's held-out rows: predictions of tokens, or the objective's own metrics."""

    read_elsewhere: tuple[str, ...] = ()
    """Parts of its objective's loss, and metrics, that another reading has."""

    def __init__(self, objective: "Objective") -> None:
        self.objective: Any = objective


class TextReading(Reading, ABC):
    """A reading that scores texts. One of your own overrides `log_probs`, or is a `RowReading`."""

    @abstractmethod
    def log_probs(self, texts: Texts, scorer: "RowScorer") -> np.ndarray:
        """A score of each scored token, ln p where it is a likelihood, in nats, `(scored tokens,)`."""


@runtime_checkable  # beartype checks signatures under pytest
class RowScorer(Protocol):
    """Runs the rows of readings (see `evaluation.scorer.Scorer`)."""

    def run(self, reading: "RowReading", texts: Texts) -> np.ndarray:
        """A score of each scored token, in nats, `(scored tokens,)`."""


class RowReading(TextReading):
    """A reading whose rows each hold a whole text and score some of its tokens, in one pass of the backbone.

    Each scored token belongs to exactly one row.
    """

    @abstractmethod
    def rows(self, texts: Texts, vocabulary: Vocabulary) -> Spans:
        """The rows of texts."""

    @abstractmethod
    def view(self, rows: TextRows, vocabulary: Vocabulary) -> View:
        """What the model reads; its label positions are the scored tokens of one row after another."""

    @abstractmethod
    def position_log_probs(self, module: "Pretraining", view: View) -> Float[Tensor, " scored"]:
        """The score at each label position of a view, in nats."""

    def log_probs(self, texts: Texts, scorer: "RowScorer") -> np.ndarray:
        return scorer.run(self, texts)


class TokenReading(RowReading):
    """A reading by a head over the vocabulary."""

    held_out: Literal["tokens", "metrics"] | None = "tokens"
    predicts_text = True
    """Whether what it predicts of held-out rows is text alone, so that its nats are bits of the text's bytes."""

    @abstractmethod
    def head(self, module: "Pretraining", view: View) -> TokenHead:
        """What the logits at each label position of a view are made from."""

    def position_log_probs(self, module: "Pretraining", view: View) -> Float[Tensor, " scored"]:
        return token_log_probs(self.head(module, view), view.targets)


class LanguageModelReading(TokenReading):
    """A reading by the head of a `LanguageModelObjective`."""

    def head(self, module: "Pretraining", view: View) -> TokenHead:
        return self.objective.head(module.backbone.encode_labelled(view), module.backbone.embedding)


def whole_texts(texts: Texts) -> Spans:
    """One row a text, which scores all of it after the context."""
    return Spans(np.arange(len(texts)), texts.firsts, texts.lengths, texts.lengths)


def single_tokens(texts: Texts) -> Spans:
    """One row a scored token, which hides that alone."""
    text = np.repeat(np.arange(len(texts)), texts.scored)
    starts = concatenated_ranges(texts.firsts, texts.scored)
    return Spans(text, starts, starts + 1, starts + 1)


def words(texts: Texts, vocabulary: Vocabulary) -> Spans:
    """One row a word, which scores and hides its tokens; a word that begins in the context begins after it."""
    tokens = single_tokens(texts)
    begins = word_starts(texts, vocabulary)[texts.bounds[tokens.text] + tokens.starts] | (
        tokens.starts == texts.firsts[tokens.text]
    )
    first = np.flatnonzero(begins)
    stops = np.append(first[1:], len(begins)) - 1
    return Spans(tokens.text[first], tokens.starts[first], tokens.stops[stops], tokens.stops[stops])


def word_starts(texts: Texts, vocabulary: Vocabulary) -> np.ndarray:
    """Whether a word begins at each token, as whole-word masking has it, `(tokens,)`."""
    rows = Rows(np.zeros(1, dtype=np.uint64), texts.tokens[None], np.array([len(texts.tokens)]))
    units = units_of(rows, vocabulary, "word")
    begins = units.begins[0] | ~units.maskable[0]  # a special token, such as an unknown one, is a word of its own
    begins[texts.bounds[:-1][texts.lengths > 0]] = True
    return begins
