"""Counts of each objective's targets in training rows, from which baselines are computed."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from lm_objectives.data.cache import TokenText
from lm_objectives.data.dataset import RowDataset, RowKey, RowSettings
from lm_objectives.data.plan import ObjectiveRows, row_owner
from lm_objectives.errors import InputError
from lm_objectives.views import Vocabulary

# Read for an objective at most: a second or two. An estimate from N targets costs a unigram model some V / 2N nats,
# which for 32,768 tokens is 0.004 where each is a target, and 0.03 where 15 % are.
_TOKENS = 2**22


_AT_ONCE = 2**16  # tokens of the rows that are made together


_ROWS, _TRIES = 64, 16  # rows of a try, and tries; most objectives score something in the first


def count_targets(
    text: TokenText, sources: Mapping[str, ObjectiveRows], vocabulary: Vocabulary, settings: RowSettings
) -> dict[str, Tensor]:
    """Counts of each objective's targets in its first training rows, `(targets,)`, at least 2 of them.

    The rows are one epoch of the objective, or as many as 2²² tokens hold, made by its corruption at step 0.

    Args:
        text: the training text.
        sources: of the rows, with the corruptions that held-out rows are made with.
        vocabulary: of the text's tokenizer.
        settings: what else the rows depend on.

    Returns:
        By objective; without those whose targets are not class numbers, `(label_positions,)` and at least 0.
    """
    rows, seq_len = RowDataset(text, sources, vocabulary, settings, "training"), settings.max_seq_len
    counts = dict.fromkeys(sources, np.zeros(2, dtype=np.int64))
    for owner, windows in rows.windows.items():
        stop, size = min(len(windows), max(_TOKENS // seq_len, 1)), max(_AT_ONCE // seq_len, 1)
        for start in range(0, stop, size):
            keys = [RowKey(owner, k) for k in range(start, min(start + size, stop))]
            for name, view in rows.__getitems__(keys).views.items():
                counts[name] = _add(counts[name], view.targets)
    return {name: torch.from_numpy(array) for name, array in counts.items() if len(array)}


def _add(counts: np.ndarray, targets: Tensor) -> np.ndarray:
    """The counts with further targets; empty once some are not class numbers."""
    if not len(counts) or targets.ndim != 1 or targets.is_floating_point() or bool((targets < 0).any()):
        return np.zeros(0, dtype=np.int64)
    sums = np.bincount(targets.numpy(), minlength=len(counts))
    sums[: len(counts)] += counts
    return sums


def check_scored(rows: RowDataset) -> None:
    """Raise where an objective scores no position in any of many rows, tried over the whole training.

    Args:
        rows: the training text's rows.

    Raises:
        ValueError: for a text that is all unknown or special tokens to an objective.
    """
    unscored = set(rows.sources)
    for number in range(_TRIES):
        step = max(rows.settings.steps, 0) * number // _TRIES  # settings may move
        for owner, windows in rows.windows.items():
            if any(row_owner(name, rows.sources) == owner for name in unscored):
                first = len(windows) * number // _TRIES
                keys = [RowKey(owner, k, step) for k in range(first, min(first + _ROWS, len(windows)))]
                views = rows.__getitems__(keys).views
                unscored -= {name for name, view in views.items() if any(view.counts.values())}
        if not unscored:
            return
    raise InputError(
        f"expected text that objective {min(unscored)} can score, found no position to score in any row tried: it may "
        "be all unknown tokens, so give another data.tokenizer or corpus"
    )
