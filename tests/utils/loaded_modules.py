"""A dataset that tells what a worker has imported; in a module of its own, so that a worker can import it."""

import sys
from collections.abc import Sequence
from typing import Any

from lm_objectives.data.dataset import RowDataset, RowKey


class LoadedModules(RowDataset):
    """Makes rows, and gives the names of the process's modules in their place."""

    def __getitems__(self, keys: Sequence[RowKey]) -> Any:
        super().__getitems__(keys)
        return sorted(sys.modules)
