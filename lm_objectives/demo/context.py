"""What every objective is shown on: the model, a text, and how to write about it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.corruptions.base import Corruption
from lm_objectives.corruptions.random import derive_seed, row_keys
from lm_objectives.corruptions.windows import frame_length
from lm_objectives.data.cache import TokenText
from lm_objectives.data.words import breaks_line, starts_word
from lm_objectives.demo.generate import Sampling
from lm_objectives.demo.measuring import measured
from lm_objectives.demo.terminal import wrapped
from lm_objectives.demo.texts import BUILT_IN, held_out_paragraphs, tokenize
from lm_objectives.objectives.base import Objective
from lm_objectives.training.module import Pretraining
from lm_objectives.training.run import LoadedRun
from lm_objectives.views import Rows, View, Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_EXCERPT = 64  # tokens of the text that are corrupted: a few lines on a terminal


@dataclass(frozen=True)
class DemoContext:
    """What every objective is shown on.

    Attributes:
        module: the model, in evaluation mode.
        tokenizer: the one it was trained with.
        vocabulary: the tokenizer's ids, and where words begin.
        origin: where the text comes from, in words.
        text: one text, tokenized as a corpus is.
        with_another: the same, and behind it a text of another origin.
        prompt: tokens that a continuation starts from.
        sampling: how it is written.
    """

    module: Pretraining
    tokenizer: "PreTrainedTokenizerFast"
    vocabulary: Vocabulary
    origin: str
    text: TokenText
    with_another: TokenText
    prompt: list[int]
    sampling: Sampling

    @property
    def backbone(self) -> Backbone:
        """The shared model."""
        return self.module.backbone

    @property
    def seq_len(self) -> int:
        """Tokens of a row, as in the training."""
        return self.module.seq_len

    @property
    def key(self) -> np.ndarray:
        """The key of the one row that is shown, `(1,)`."""
        return row_keys(derive_seed("demo", self.sampling.seed), np.zeros(1))

    def excerpt(self, corruption: Corruption) -> Rows:
        """The text's first sentences as one row without padding, as many as fit; a part of one that is too long."""
        rows = self.excerpt_for(corruption)
        length = int(rows.lengths[0])
        marks = None if rows.sentence_starts is None else rows.sentence_starts[:, :length]
        return replace(rows, input_ids=rows.input_ids[:, :length], sentence_starts=marks)

    def excerpt_for(self, corruption: Corruption, first: int = 0, most: int | None = None) -> Rows:
        """The excerpt as a corruption reads it.

        Args:
            corruption: which makes rows of spans of the text.
            first: the token that it begins with; 1 leaves bos out.
            most: tokens that a row holds, the window's where it is `None`.
        """
        stop = self._stop(first, (self.seq_len if most is None else most) - frame_length(corruption.frame))
        return corruption.read_rows(self.text, np.array([[first, stop]]), self.key, self.seq_len, self.vocabulary)

    def _stop(self, first: int, most: int) -> int:
        """Where the last whole sentence of so many tokens stops, or so many tokens where none does."""
        stops, limit = self.text.sentences[:, 1], first + min(_EXCERPT, most)
        return int(max(stops[stops <= limit], default=limit))

    def hidden(self, view: View) -> Float[Tensor, "rows time dim"]:
        """Hidden states of a view."""
        [hidden] = self.backbone.encode([view])
        return hidden

    def measured(self, objective: Objective) -> Iterator[str]:
        """An objective's loss and metrics on the text."""
        return measured(objective, self)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens."""
        return str(self.tokenizer.decode(list(ids)))

    def quoted(self, ids: Sequence[int]) -> str:
        """The text of tokens in quotes, so that its spaces are seen."""
        return json.dumps(self.decode(ids), ensure_ascii=False)

    def token(self, token: int) -> str:
        """A token in quotes."""
        return self.quoted([token])

    def marked(self, ids: Sequence[int], marks: dict[int, str]) -> list[str]:
        """Lines of the text of `ids`, the token at each position of `marks` replaced by the mark."""
        ends = [self.decode(ids[:end]).rstrip("�") for end in range(len(ids) + 1)]
        pieces = [ends[at + 1][len(ends[at]) :] for at in range(len(ids))]
        for at, mark in marks.items():
            pieces[at] = " " * pieces[at].startswith(" ") + mark
        return wrapped("".join(pieces))


def make_context(run: LoadedRun, text: str | None, sampling: Sampling) -> DemoContext:
    """Choose the text and tokenize it; a given text is continued whole, another one from its first sentence.

    Raises:
        ValueError: where the tokenizer finds nothing in the text.
    """
    tokenizer, module = run.tokenizer, run.module
    known = module.vocabulary
    backend, size = tokenizer.backend_tokenizer, known.size
    starts, breaks = starts_word(backend, set(known.special), size), breaks_line(backend, size)
    vocabulary = replace(known, starts_word=starts, breaks_line=breaks)
    held_out = held_out_paragraphs(run.cache, tokenizer, module.seq_len, sampling.seed)
    origin = "your text" if text is not None else "a held-out paragraph" if held_out else "a built-in paragraph"
    shown, another = [*([] if text is None else [text]), *held_out, *BUILT_IN][:2]
    tokens = tokenize([shown], tokenizer, vocabulary)
    prompt = tokens.tokens[: -1 if text is not None else tokens.sentences[0, 1]].tolist()
    with_another = tokenize([shown, another], tokenizer, vocabulary)
    return DemoContext(module, tokenizer, vocabulary, origin, tokens, with_another, prompt, sampling)
