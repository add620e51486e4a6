"""Special tokens that corruptions ask for by name."""

from collections.abc import Sequence

import numpy as np

from lm_objectives.corruption.base import Vocabulary


def token_ids_of(vocabulary: Vocabulary, tokens: Sequence[str]) -> np.ndarray:
    """Ids of special tokens that a corruption has asked for.

    Raises:
        ValueError: where the vocabulary lacks one.
    """
    named = dict(vocabulary.named_tokens)
    for token in tokens:
        if token not in named:
            raise ValueError(
                f"expected the special token {token} in the tokenizer, found none: prepare the corpus with the "
                "objectives that are trained"
            )
    return np.array([named[token] for token in tokens], dtype=np.int64)
