"""Counts of each objective's targets in training rows, from which baselines are computed."""

import inspect
import pickle
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lm_objectives.corruptions.base import Corruption
from lm_objectives.data.cache import TokenText
from lm_objectives.data.dataset import RowDataset, RowKey, RowSettings
from lm_objectives.data.plan import ObjectiveRows, row_owner
from lm_objectives.data.preparation.fingerprint import digest_of, fingerprint
from lm_objectives.errors import InputError
from lm_objectives.files import atomic_write
from lm_objectives.plugin import Plugin
from lm_objectives.views import Vocabulary

# Raise it when the same corruptions and settings come to give other counts: what they call is not hashed.
_FORMAT = 1

# Read for an objective at most: a second or two. An estimate from N targets costs a unigram model some V / 2N nats,
# which for 32,768 tokens is 0.004 where each is a target, and 0.03 where 15 % are.
_TOKENS = 2**22
_AT_ONCE = 2**16  # tokens of the rows that are made together

_ROWS, _TRIES = 64, 16  # rows of a try, and tries; most objectives score something in the first


def count_targets(
    text: TokenText, sources: Mapping[str, ObjectiveRows], vocabulary: Vocabulary, settings: RowSettings, folder: Path
) -> dict[str, Tensor]:
    """Counts of each objective's targets in its first training rows, `(targets,)`, at least 2 of them.

    The rows are one epoch of the objective, or as many as 2²² tokens hold, made by its corruption at step 0. What was
    counted is kept in a file, by the hash of all that it depends on, and counted anew where the file is not whole or
    cannot be written.

    Args:
        text: the training text.
        sources: of the rows, with the corruptions that held-out rows are made with.
        vocabulary: of the text's tokenizer.
        settings: what else the rows depend on.
        folder: where the files are kept, one that belongs to the text and its tokenizer.

    Returns:
        By objective; without those whose targets are not class numbers, `(label_positions,)` and at least 0.
    """
    counts: dict[str, np.ndarray] = {}
    for owner in (name for name, source in sources.items() if source.shares_rows_with is None):
        own = {name: source for name, source in sources.items() if row_owner(name, sources) == owner}
        identity = _identify(own, settings)
        file = None if identity is None else folder / f"{identity}.npz"
        found = None if file is None else _read(file, own)
        if found is None:
            found = _count(RowDataset(text, own, vocabulary, settings, "training"), owner)
            if file is not None:
                _write(file, found)
        counts |= found
    return {name: torch.from_numpy(array) for name, array in counts.items() if len(array)}


def _count(rows: RowDataset, owner: str) -> dict[str, np.ndarray]:
    """Counts for an objective and the one that shares its rows; none, `(0,)`, where targets are not class numbers."""
    seq_len = rows.settings.max_seq_len
    stop, size = min(len(rows.windows[owner]), max(_TOKENS // seq_len, 1)), max(_AT_ONCE // seq_len, 1)
    counts: dict[str, np.ndarray | None] = dict.fromkeys(rows.sources, np.zeros(2, dtype=np.int64))
    for start in range(0, stop, size):
        views = rows.__getitems__([RowKey(owner, k) for k in range(start, min(start + size, stop))]).views
        counts = {name: _add(before, views[name].targets) for name, before in counts.items()}
    return {name: np.zeros(0, dtype=np.int64) if array is None else array for name, array in counts.items()}


def _add(counts: np.ndarray | None, targets: Tensor) -> np.ndarray | None:
    """The counts with further targets; `None` once some are not class numbers."""
    if counts is None or targets.ndim != 1 or targets.is_floating_point() or bool((targets < 0).any()):
        return None
    sum_ = np.bincount(targets.numpy(), minlength=len(counts))
    sum_[: len(counts)] += counts
    return sum_


def _identify(sources: Mapping[str, ObjectiveRows], settings: RowSettings) -> str | None:
    """The hash of all that the counts depend on besides the text; `None` where a class has no file or no plain data."""
    corruptions = {name: source.corruption for name, source in sources.items()}
    try:
        return fingerprint(
            format=_FORMAT,
            corruptions={name: pickle.dumps(corruption).hex() for name, corruption in corruptions.items()},
            code={name: _code(corruption) for name, corruption in corruptions.items()},
            shares_rows_with={name: source.shares_rows_with for name, source in sources.items()},
            settings=asdict(settings),
            tokens=_TOKENS,
        )
    except (OSError, TypeError, AttributeError, pickle.PicklingError):  # of a class in a notebook, or with a lambda
        return None


def _code(corruption: Corruption) -> list[str]:
    """Hashes of the files of a corruption's classes and of what it holds: of a user's own, too, which may change."""
    held = [value for value in vars(corruption).values() if isinstance(value, Plugin)]
    kinds = [above for value in (corruption, *held) for above in type(value).__mro__]
    return [digest_of(Path(inspect.getfile(kind))) for kind in kinds if issubclass(kind, Plugin)]


def _read(file: Path, names: Mapping[str, ObjectiveRows]) -> dict[str, np.ndarray] | None:
    """The counts in a file, `None` where there are none or they are not whole."""
    with suppress(OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        read = np.load(file, allow_pickle=False)
        if isinstance(read, np.lib.npyio.NpzFile):
            with read:
                counts = {name: read[f"counts/{name}"] for name in names}
            if all(array.ndim == 1 and array.dtype == np.int64 for array in counts.values()):
                return counts
    return None


def _write(file: Path, counts: Mapping[str, np.ndarray]) -> None:
    """Keep counts, where the folder can be written."""
    with suppress(OSError), atomic_write(file) as out:
        np.savez(out, **{f"counts/{name}": array for name, array in counts.items()})  # type: ignore[arg-type]


def check_scored(rows: RowDataset) -> None:
    """Raise where an objective scores no position in any of many rows, tried over the whole training.

    Args:
        rows: the training text's rows.

    Raises:
        InputError: for a text that is all unknown or special tokens to an objective.
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
