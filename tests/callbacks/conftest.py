"""What the callbacks' tests share."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from utils.small_corpus import write_corpus


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus; the first run makes its token cache beside it."""
    return write_corpus(tmp_path_factory.mktemp("text") / "corpus.jsonl")


@pytest.fixture
def own_signals() -> Iterator[None]:
    """The process hears Ctrl-C afterwards as before; Lightning leaves it deaf."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)
