"""The base class of corruptions: from text to the input and labels of one objective."""

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
from lm_objectives.errors import expect
from lm_objectives.plugin import Plugin
from lm_objectives.views import Attention, Rows, Text, View, Vocabulary

Layout = Literal["encoder-decoder", "prefix"]
"""How a row holds an input and a target: one for an encoder and one for a decoder, or both in one row, the input first,
as a prefix that attends to itself in both directions."""


def check_fraction(value: float, name: str, advice: str) -> None:
    """Raise where a setting is not strictly between 0 and 1; the message ends with the advice."""
    expect(0 < value < 1, f"a {name} between 0 and 1, both excluded", value, advice)


def check_attention(view: View, corruption: "Corruption") -> None:
    """Raise where a view has another attention than its corruption says, by which it is read and may share rows."""
    expected = f"views with the attention {corruption.attention} of {type(corruption).__name__}"
    mend = "give attention=self.attention to rows.labelled"
    expect(view.attention == corruption.attention, expected, view.attention, mend)


class Corruption(Plugin, ABC):
    """From text to input and labels, as a pure function of each row's key.

    Plain data: no parameters, picklable, the same in every worker; best a frozen dataclass. Its random numbers come
    from the rows' keys alone (see `sample_positions` and `corruptions.random`), so a row does not depend on batch size,
    workers, ranks, accumulation or a resume.

    >>> from dataclasses import dataclass
    >>> import numpy as np
    >>> from lm_objectives import Corruption, Rows, Vocabulary, sample_positions
    >>> @dataclass(frozen=True)
    ... class Shuffling(Corruption):
    ...     rate: float = 0.5
    ...     def corrupt(self, rows, vocabulary):
    ...         ids = rows.input_ids.copy()
    ...         for row, chosen in zip(ids, sample_positions(rows, vocabulary, self.rate)):
    ...             row[chosen] = np.roll(row[chosen], 1)
    ...         return rows.labelled(ids, labels=ids != rows.input_ids)
    >>> rows = Rows(keys=np.zeros(1, np.uint64), input_ids=np.array([[1, 4, 5, 6, 7, 2, 0]]), lengths=np.array([6]))
    >>> view = Shuffling().corrupt(rows, Vocabulary(size=8, pad=0, bos=1, eos=2, mask=3, special=(0, 1, 2, 3)))
    >>> view.targets.sum(), view.counts
    (tensor(2), {'loss': 6})
    """

    frame: Frame = "none"
    """Special tokens around the text of each row that `read_rows` copies; they count in `seq_len`."""

    supports_packing: ClassVar[bool] = True
    """Whether a row may hold parts of several documents, each of which attends to itself alone."""

    needs_sentence_starts: ClassVar[bool] = False
    """Whether it reads `Rows.sentence_starts`."""

    reads_sentence_pairs: ClassVar[bool] = False
    """Whether its rows are pairs of sentences, which it reads from a text in which each sentence is encoded alone: in
    the text as it stands a missing space, or a line break, would tell which of them begins a paragraph."""

    @property
    def attention(self) -> Attention:
        """Which positions of its rows attend to which; a class attribute may take its place."""
        return "bidirectional"

    @property
    def uses_decoder(self) -> bool:
        """Whether its views have labels for a decoder, which takes a backbone with an encoder and a decoder."""
        return False

    def special_tokens(self, seq_len: int) -> tuple[str, ...]:
        """Special tokens that it needs besides pad, bos, eos and mask; `Vocabulary.named_tokens` has their ids."""
        del seq_len
        return ()

    def prefix_and_suffix(self, vocabulary: Vocabulary) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Special tokens before and after a text that the model is given, which an exported tokenizer adds. The default
        is a whole document's bos and eos."""
        return (vocabulary.bos,), (vocabulary.eos,)

    def windows(self, text: Text, seq_len: int, packing: bool) -> WindowBounds:
        """Where each of the objective's windows starts and stops in `text.tokens`.

        An epoch of the objective is all of them, each once. The default cuts the stream of all documents every
        `seq_len` tokens, less those of the frame, where rows are packed, and each document on its own where not. A last
        token that would be alone is left out: nothing could be learned from it.
        """
        room = seq_len - frame_length(self.frame)
        if packing and self.supports_packing:
            return FixedLengthWindows(np.array([0, len(text.tokens)]), room)
        trim = int(self.frame != "none"), int(self.frame == "bos-eos")  # the document's own would be there twice
        return FixedLengthWindows(np.asarray(text.documents), room, trim)

    def dropped_counts(self, text: Text, seq_len: int, packing: bool, vocabulary: Vocabulary) -> dict[str, int]:
        """What of the text no row holds, how much of it by the reason why; for people to read."""
        del vocabulary
        windows = self.windows(text, seq_len, packing)
        if not isinstance(windows, FixedLengthWindows):
            return {}
        return {"last tokens that would be alone": windows.dropped_single_tokens}

    def read_rows(
        self, text: Text, windows: np.ndarray, keys: np.ndarray, seq_len: int, vocabulary: Vocabulary
    ) -> Rows:
        """Clean rows of the `windows`, `(rows, 2)`. The default copies their tokens and adds the frame."""
        room = seq_len - frame_length(self.frame)
        rows = read_stream(text, windows, keys, room, vocabulary.pad, self.needs_sentence_starts)
        return rows if self.frame == "none" else add_frame(rows, text, windows, self.frame, vocabulary)

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
        """Input and labels from clean rows; must not write into `rows`."""

    def for_validation(self) -> "Corruption":
        """The corruption of held-out rows, the same whatever a run trains with."""
        return self


class InputTargetCorruption(Corruption):
    """Base of corruptions that split each row into an input and a target, in either `Layout`.

    Attributes:
        layout: whether one row holds both, or an encoder reads the input and a decoder writes the target.
        mode: a special token in front of the input, or `None`.
    """

    layout: Layout
    mode: str | None

    supports_packing: ClassVar[bool] = False

    @property
    def attention(self) -> Attention:
        return "prefix" if self.layout == "prefix" else "bidirectional"

    @property
    def uses_decoder(self) -> bool:
        return self.layout == "encoder-decoder"

    @property
    def mode_tokens(self) -> tuple[str, ...]:
        """The mode's token, or none."""
        return () if self.mode is None else (self.mode,)
