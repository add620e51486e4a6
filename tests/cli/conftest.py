"""A small corpus with a configuration, and a run that was not disturbed."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from utils.command_line import fit
from utils.small_corpus import BACKBONE, ROWS, TOKENS, WINDOW, write_corpus


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
    write_corpus(place / "corpus.jsonl")
    settings = {
        "trainer": {
            "accelerator": "cpu",
            "max_steps": 3,
            "log_every_n_steps": 1,
            "val_check_interval": 3,
            "check_val_every_n_epoch": None,
            "num_sanity_val_steps": 0,
            "enable_model_summary": False,
        },
        "tracking": {"wandb": "off"},
        "model": {
            "backbone": {"model_type": "llama", "config": BACKBONE | {"max_position_embeddings": 256}},
            "objectives": {
                "causal": "CausalLM",
                "masked": {"class_path": "MaskedLM", "init_args": {"mask_rate": 0.3}},
                "order": "SentenceOrder",
            },
        },
        "data": {
            "corpus": str(place / "corpus.jsonl"),
            "tokenizer": TOKENS,
            "seq_len": WINDOW,
            "global_batch_size": ROWS,
            "batch_multiple": 2,
            "validation_rows": 8,
            "cache": str(place / "cache"),
        },
    }
    (place / "tiny.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return place


@pytest.fixture(scope="session")
def trained(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was not disturbed."""
    root = tmp_path_factory.mktemp("trained") / "deep" / "run"
    assert fit(place, root) == 0
    return root
