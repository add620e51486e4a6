"""Which documents train, and which are held out."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from jaxtyping import Bool

from lm_objectives.data.sentences import split_paragraphs

Chosen = Bool[np.ndarray, " documents"]


def hold_out(documents: Sequence[str], share: float, seed: int) -> tuple[Sequence[str], Chosen, Chosen]:
    """Divide a corpus by documents; blank ones go to neither side.

    Each document is ranked by the hash of (seed, its number), and the first round(share × documents) are held out, at
    least one and never all. The hash gives the same division on every machine and with every numpy. A corpus of one
    document is cut in two where a paragraph ends, the end held out.

    Args:
        documents: texts of the whole corpus.
        share: part of the documents that is held out, in (0, 1).
        seed: chooses which.

    Returns:
        The documents (the two halves of a single one), which of them train, and which are held out.

    Raises:
        ValueError: when `share` is out of range, or the corpus is too small to be divided.
    """
    checked_share(share)
    filled = np.fromiter((not text.isspace() and text != "" for text in documents), dtype=bool, count=len(documents))
    numbers = np.flatnonzero(filled)
    if len(numbers) < 2:
        paragraphs = [paragraph for number in numbers for paragraph in split_paragraphs(documents[int(number)])]
        if len(paragraphs) < 2:
            raise ValueError(
                "expected a corpus of two documents or two paragraphs, so that one can be held out; "
                f"found {len(paragraphs)}; add text, or divide it by blank lines"
            )
        cut = len(paragraphs) - _number_held_out(len(paragraphs), share)
        documents = ["\n\n".join(paragraphs[:cut]), "\n\n".join(paragraphs[cut:])]
        return documents, np.array([True, False]), np.array([False, True])
    ranked = sorted(numbers.tolist(), key=lambda number: blake2b(f"{seed}:{number}".encode()).digest())
    held_out = np.zeros(len(documents), dtype=bool)
    held_out[ranked[: _number_held_out(len(ranked), share)]] = True
    return documents, filled & ~held_out, held_out


def checked_share(share: float) -> float:
    """The share, when it is one."""
    if not 0 < share < 1:
        raise ValueError(
            f"expected validation_share above 0 and below 1, found {share}; 0.05 holds out one document in twenty"
        )
    return share


def _number_held_out(number: int, share: float) -> int:
    return min(max(round(share * number), 1), number - 1)
