"""The contract of a corruption: from text to the input and labels of one objective."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import numpy as np

from lm_objectives.corruptions.windows import (
    FixedLengthWindows,
    Frame,
    WindowBounds,
    add_frame,
    frame_length,
    read_stream,
)
from lm_objectives.views import Attention, Rows, Text, View, Vocabulary

Layout = Literal["encoder-decoder", "prefix"]
"""Where what is read and what is written stand: behind an encoder and a decoder, or in one row, the former a prefix."""


class Corruption(ABC):
    """From text to input and target, as a pure function of each row's key.

    Plain data: no parameters, picklable, the same in every worker. Its random numbers come from `corruption.keyed`
    alone, so a row does not depend on batch size, workers, ranks, accumulation or a resume.
    """

    attention: Attention = "bidirectional"

    frame: Frame = "none"
    """What stands around the text of each row that `read` copies; it takes its places of the window."""

    supports_packing: ClassVar[bool] = True
    """Whether a row may hold parts of several documents, which see only themselves."""

    needs_sentence_starts: ClassVar[bool] = False
    """Whether `Rows.sentences` is wanted."""

    reads_sentence_pairs: ClassVar[bool] = False
    """Whether its rows are pairs of sentences, which it reads from a text in which each sentence is encoded alone: in
    the text as it stands a missing space, or a line break, would tell which of them begins a paragraph."""

    @property
    def uses_decoder(self) -> bool:
        """Whether its views have a decoder write, which takes a backbone with an encoder and a decoder."""
        return False

    def special_tokens(self, window: int) -> tuple[str, ...]:
        """Special tokens that it needs besides pad, bos, eos and mask; `Vocabulary.named` has their ids."""
        del window
        return ()

    def prefix_and_suffix(self, vocabulary: Vocabulary) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Special tokens in front of a text that the model is given to read, and behind it; an exported tokenizer adds
        them. The default is a whole document's bos and eos."""
        return (vocabulary.bos,), (vocabulary.eos,)

    def windows(self, text: Text, window: int, packing: bool) -> WindowBounds:
        """Where each of the objective's windows starts and stops in `text.tokens`.

        An epoch of the objective is all of them, each once. The default cuts the stream of all documents every
        `window` tokens, less those of the frame, where rows are packed, and each document on its own where not. A last
        token that would be alone is left out: nothing could be learned from it.
        """
        room = window - frame_length(self.frame)
        if packing and self.supports_packing:
            return FixedLengthWindows(np.array([0, len(text.tokens)]), room)
        trim = int(self.frame != "none"), int(self.frame == "bos-eos")  # the document's own would be framed again
        return FixedLengthWindows(np.asarray(text.documents), room, trim)

    def dropped_counts(self, text: Text, window: int, packing: bool, vocabulary: Vocabulary) -> dict[str, int]:
        """What of the text no row holds, how much of it by the reason why; for people to read."""
        del vocabulary
        spans = self.windows(text, window, packing)
        return (
            {"last tokens that would be alone": spans.dropped_single_tokens}
            if isinstance(spans, FixedLengthWindows)
            else {}
        )

    def read_rows(self, text: Text, spans: np.ndarray, keys: np.ndarray, window: int, vocabulary: Vocabulary) -> Rows:
        """Clean rows of the `spans`, `(rows, 2)`. The default copies the tokens as they stand, and frames them."""
        room = window - frame_length(self.frame)
        rows = read_stream(text, spans, keys, room, vocabulary.pad, self.needs_sentence_starts)
        return rows if self.frame == "none" else add_frame(rows, text, spans, self.frame, vocabulary)

    def at_step(self, step: int, steps: int) -> "Corruption":
        """The corruption of rows that are read at an optimizer step, where its settings change over the training.

        Args:
            step: optimizer step.
            steps: optimizer steps of the whole training, -1 where nothing bounds it.
        """
        del step, steps
        return self

    @abstractmethod
    def corrupt(self, rows: Rows, vocabulary: Vocabulary) -> View:
        """Input and target from clean rows; must not write into `rows`."""

    def for_validation(self) -> "Corruption":
        """The corruption that held-out rows are made with, the same whatever a run trains with."""
        return self
