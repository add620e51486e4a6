"""Two halves of the held-out documents: one to choose settings on, the other to report."""

import hashlib
from dataclasses import replace
from itertools import pairwise
from typing import Literal

import numpy as np

from lm_objectives.corruptions.sampling import concatenated_ranges
from lm_objectives.data.cache import TokenCache, TokenText
from lm_objectives.errors import InputError

Documents = Literal["all", "tune", "report"]
"""Which of the held-out documents a model is evaluated on."""


def held_out_half(cache: TokenCache, documents: Documents) -> TokenCache:
    """A corpus with a half of its held-out documents, each in one by the hash of its tokens.

    The halves hold about as many documents; which one a document is in does not depend on the others. Its bits per byte
    are by the bytes of a token of all held-out text.

    Raises:
        InputError: where a half would be empty.
    """
    if documents == "all":
        return cache
    text = cache.validation
    bounds = np.asarray(text.documents)
    first = np.array([_is_first(np.asarray(text.tokens[start:stop])) for start, stop in pairwise(bounds)])
    chosen = first if documents == "tune" else ~first
    if not chosen.any():
        raise InputError(
            f"expected held-out documents in both halves, found none in the half to {documents} on of {len(first)}: "
            "give a corpus of more documents, or raise data.validation_share"
        )
    half = _of_documents(text, chosen, _of_pairs(text, chosen))
    share = int(half.documents[-1] - chosen.sum()) / max(int(bounds[-1]) - len(first), 1)
    size = round(cache.statistics.validation_bytes * share)
    return replace(cache, validation=half, statistics=replace(cache.statistics, validation_bytes=size))


def _is_first(tokens: np.ndarray) -> bool:
    return hashlib.sha256(tokens.astype("<i8").tobytes()).digest()[0] % 2 == 0


def _of_pairs(text: TokenText, chosen: np.ndarray) -> TokenText | None:
    return None if text.pairs is None else _of_documents(text.pairs, chosen, None)


def _of_documents(text: TokenText, chosen: np.ndarray, pairs: TokenText | None) -> TokenText:
    """The text of some documents, in their order."""
    bounds = np.asarray(text.documents)
    starts, stops = bounds[:-1][chosen], bounds[1:][chosen]
    lengths = stops - starts
    documents = np.concatenate([[0], np.cumsum(lengths)])
    moved = np.zeros(len(bounds) - 1, dtype=np.int64)
    moved[chosen] = documents[:-1] - starts

    sentences = np.asarray(text.sentences, dtype=np.int64)
    owner = np.searchsorted(bounds, sentences[:, 0], side="right") - 1
    inside = chosen[owner]
    number = np.concatenate([[0], np.cumsum(inside)])  # of each sentence among those that stay
    paragraphs = np.asarray(text.paragraphs, dtype=np.int64)
    return replace(
        text,
        tokens=np.asarray(text.tokens)[concatenated_ranges(starts, lengths)],
        sentences=sentences[inside] + moved[owner[inside], None],
        paragraphs=np.append(number[paragraphs[:-1][inside[paragraphs[:-1]]]], number[-1]),
        documents=documents,
        corpora=np.array([0, documents[-1]]),
        pairs=pairs,
    )
