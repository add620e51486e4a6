"""What the exactness tests share: one tiny corpus, one pair of processes, and each run on one process done once."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from utils.exactness_pair import Pair
from utils.exactness_runs import Run, State, train, write_corpus


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus, and the token cache beside it, which the first run makes."""
    folder = tmp_path_factory.mktemp("exactness")
    write_corpus(folder)
    return folder


@pytest.fixture(scope="session")
def pair(folder: Path) -> Iterator[Pair]:
    """Two processes that do whole runs together."""
    pair = Pair(folder)
    yield pair
    pair.close()


@pytest.fixture(scope="session")
def alone(folder: Path) -> Callable[[Run], State]:
    """The end state of a run on one process; each run is done once."""
    return cache(lambda run: train(run, folder))
