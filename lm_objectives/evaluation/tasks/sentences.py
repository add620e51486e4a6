"""The sentences of a run's own held-out documents."""

from collections.abc import Iterator

import numpy as np

from lm_objectives.data.cache import TokenText
from lm_objectives.errors import InputError
from lm_objectives.evaluation.model import EvaluatedModel


def held_out_text(model: EvaluatedModel, task: str) -> TokenText:
    """The tokens of the documents that a run held out.

    Raises:
        InputError: where they are gone, or there never were any.
    """
    if model.cache is None:
        raise InputError(
            f"expected the run's own held-out documents for the task {task}, found none: give --ckpt_path of a run "
            "whose token cache is in place, or tasks from files, name=path"
        )
    return model.cache.validation


def held_out_sentences(model: EvaluatedModel, task: str) -> Iterator[str]:
    """The text of each held-out sentence, its white space made single spaces; each different one once."""
    text = held_out_text(model, task)
    seen: set[str] = set()
    sentences = np.asarray(text.sentences)
    for at in range(0, len(sentences), _AT_ONCE):
        ids = [text.tokens[start:stop].tolist() for start, stop in sentences[at : at + _AT_ONCE]]
        for decoded in model.tokenizer.batch_decode(ids):
            sentence = " ".join(decoded.split())
            if sentence and sentence not in seen:
                seen.add(sentence)
                yield sentence


_AT_ONCE = 4096
