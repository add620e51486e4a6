"""A small corpus with a configuration."""

from pathlib import Path

import pytest
from utils.small_corpus import write_settings


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus, its token cache, and `tiny.yaml`."""
    place = tmp_path_factory.mktemp("comparison")
    write_settings(place)
    return place
