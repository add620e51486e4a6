"""A small corpus with a configuration, and a run that was not disturbed."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from utils.command_line import fit
from utils.small_corpus import write_settings


@pytest.fixture(scope="module", autouse=True)
def process_as_before() -> Iterator[None]:
    """Lightning leaves a process deaf to Ctrl-C."""
    ctrl_c, path = signal.getsignal(signal.SIGINT), list(sys.path)
    yield
    signal.signal(signal.SIGINT, ctrl_c)
    sys.path[:] = path


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus, its token cache, and `tiny.yaml`."""
    place = tmp_path_factory.mktemp("cli")
    write_settings(place)
    return place


@pytest.fixture(scope="session")
def trained(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was not disturbed."""
    root = tmp_path_factory.mktemp("trained") / "deep" / "run"
    assert fit(place, root) == 0
    return root
