"""Texts as tokens, of which all are scored, or those after a context."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from transformers import PreTrainedTokenizerFast

from lm_objectives.corruptions.sampling import concatenated_ranges
from lm_objectives.data.preparation.encode import encode_texts, plain_tokenizer
from lm_objectives.data.tokenizer import unknown_token

FRAME = 4
"""Places of a row that are kept free for special tokens: of bos, eos, a mode and sentinels no row has more."""


@dataclass(frozen=True, eq=False)
class Texts:
    """Tokenized texts one after another, without special tokens.

    Attributes:
        tokens: ids of all texts, `(tokens,)`.
        bounds: where each text starts in `tokens`, and where the last stops, `(texts + 1,)`.
        firsts: tokens of each text's context, which are read and not scored, `(texts,)`.
        unknown: scored tokens of each that stand for what the tokenizer does not know, `(texts,)`.
        truncated: whether the start of a text's context was cut off, `(texts,)`.
    """

    tokens: np.ndarray
    bounds: np.ndarray
    firsts: np.ndarray
    unknown: np.ndarray
    truncated: np.ndarray

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each text, `(texts,)`."""
        return np.diff(self.bounds)

    @cached_property
    def scored(self) -> np.ndarray:
        """Scored tokens of each text, `(texts,)`."""
        return self.lengths - self.firsts

    @cached_property
    def scored_bounds(self) -> np.ndarray:
        """Where each text's tokens start among all scored ones, and where the last stop, `(texts + 1,)`."""
        return np.concatenate([[0], np.cumsum(self.scored)])

    def padded(self, which: np.ndarray, pad: int) -> np.ndarray:
        """The tokens of texts number `which`, padded on the right, `(texts, time)`."""
        lengths = self.lengths[which]
        ids = np.full((len(which), int(lengths.max(initial=0))), pad, dtype=np.int64)
        into = concatenated_ranges(np.arange(len(which)) * ids.shape[1], lengths)
        ids.ravel()[into] = self.tokens[concatenated_ranges(self.bounds[which], lengths)]
        return ids

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sums over each text of a value for each scored token, `(tokens,)` to `(texts,)`, in double precision."""
        of = np.repeat(np.arange(len(self)), self.scored)
        return np.bincount(of, weights=values, minlength=len(self))  # equal values in one order make equal sums

    def cut(self, room: int) -> "Texts":
        """The texts with no more than `room` tokens each: the start of a longer one's context is cut off."""
        drop = np.maximum(self.lengths - room, 0)
        kept = concatenated_ranges(self.bounds[:-1] + drop, self.lengths - drop)
        bounds = np.concatenate([[0], np.cumsum(self.lengths - drop)])
        firsts = np.maximum(self.firsts - drop, 0)
        return replace(self, tokens=self.tokens[kept], bounds=bounds, firsts=firsts, truncated=drop > 0)


def tokenize_texts(tokenizer: PreTrainedTokenizerFast, texts: Sequence[tuple[str, str]]) -> Texts:
    """Texts after their contexts, each pair encoded as one text; what looks like a special token is read as text.

    A token that stands for letters of both is scored.

    Args:
        tokenizer: of the model.
        texts: context, which may be empty, and text.
    """
    plain, unknown = plain_tokenizer(tokenizer.backend_tokenizer), unknown_token(tokenizer.backend_tokenizer)
    unknown_id = None if unknown is None else plain.token_to_id(unknown)
    ids: list[np.ndarray] = []
    firsts: list[int] = []
    whole, places = [context + text for context, text in texts], any(context for context, _ in texts)
    for encoding, (context, _) in zip(encode_texts(plain, whole, places), texts, strict=True):
        ids.append(np.array(encoding.ids, dtype=np.int64))
        ends = [stop for _, stop in encoding.offsets] if context else []
        firsts.append(sum(stop <= len(context) for stop in ends))
    lengths, before = np.array([*map(len, ids)], dtype=np.int64), np.array(firsts, dtype=np.int64)
    tokens = np.concatenate([np.empty(0, np.int64), *ids])
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    counted = np.concatenate([[0], np.cumsum(tokens == (-1 if unknown_id is None else unknown_id))])
    strange = counted[bounds[1:]] - counted[bounds[:-1] + before]
    return Texts(tokens, bounds, before, strange, np.zeros(len(lengths), dtype=bool))
