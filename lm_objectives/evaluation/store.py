"""Scores of single items, kept so that nothing is scored twice."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from lm_objectives.files import atomic_write

STORE = "evaluation"
"""Name of the folder, next to the results."""

Arrays = Mapping[str, np.ndarray]


class ItemStore:
    """Arrays in a folder, each under the hash of all that they depend on.

    Args:
        folder: made with the first array; `None` keeps nothing.
        basis: what all of them depend on: the weights, the precision, the version.
    """

    def __init__(self, folder: Path | None, basis: str) -> None:
        self.folder, self.basis = folder, basis

    def get(self, key: str, make: Callable[[], Arrays]) -> tuple[Arrays, str | None]:
        """The arrays of `key`, made where they are not there yet, and the file's path from the results' folder.

        Args:
            key: what else they depend on: the items and the reading.
            make: makes them.
        """
        if self.folder is None:
            return make(), None
        name = hashlib.sha256(f"{self.basis}\n{key}".encode()).hexdigest()[:20]
        path = self.folder / f"{name}.npz"
        arrays = _read(path)
        if arrays is None:
            arrays = make()
            with atomic_write(path) as file:
                np.savez_compressed(file, allow_pickle=False, **arrays)
        return arrays, f"{self.folder.name}/{path.name}"


def _read(path: Path) -> Arrays | None:
    """The arrays of a file; `None` where there is none, or no whole one."""
    try:
        with np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except Exception:  # a damaged archive may raise any; it is scored again
        return None
