"""One small corpus and tiny runs on it, made once for all tests that read a checkpoint."""

import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import lightning.pytorch as L
import pytest
import torch
from utils.small_corpus import write_corpus

from lm_objectives import Backbone, Pretraining, TextDataModule
from lm_objectives.objectives import CausalLM, MaskedLM, Objective, ReplacedToken, SentenceOrder

Train = Callable[..., Path]

os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start
torch.set_num_threads(1)  # threads would only wait for one another on matrices this small

_SUBJECTS = ("The dog", "A cat", "My son", "One bird")
_VERBS = ("ran", "sat", "went", "came")
_PLACES = ("home", "to the sea", "to the hill", "away")


def paragraph(number: int) -> str:
    """Four short sentences, others for each number."""
    digits = [(number // 4**place) % 4 for place in range(6)]
    sentences = [f"{_SUBJECTS[digits[n]]} {_VERBS[digits[n + 1]]} {_PLACES[digits[n + 2]]}." for n in range(4)]
    return " ".join(sentences)


@pytest.fixture(autouse=True)
def as_before_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command logs to the stderr of its test, which is closed for the tests that follow."""
    monkeypatch.setattr(logging.getLogger("lm_objectives"), "handlers", [])


@pytest.fixture
def unchecked_signatures() -> Iterator[None]:
    """Signatures as users have them: tests check the types of arguments before a class can make them plain."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def own_signals() -> Iterator[None]:
    """The process hears Ctrl-C afterwards as before; Lightning leaves it deaf."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus of `utils.callback_runs`; the first run makes its token cache beside it."""
    return write_corpus(tmp_path_factory.mktemp("text") / "corpus.jsonl")


@pytest.fixture(scope="session")
def train(tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Two steps at a rate that moves every parameter far from where it began; gives the checkpoint.

    Settings of the Trainer go on top.
    """
    corpus = tmp_path_factory.mktemp("corpus")
    for document in range(12):
        text = "\n\n".join(paragraph(97 * document + 31 * n) for n in range(8))
        (corpus / f"{document}.txt").write_text(text, encoding="utf-8")
    cache = tmp_path_factory.mktemp("cache")

    def run(backbone: Backbone, objectives: dict[str, Objective], optimizer: Any = _fast, **settings: Any) -> Path:
        torch.manual_seed(0)
        data = TextDataModule(
            str(corpus), tokenizer=340, seq_len=32, global_batch_size=8, batch_multiple=1, cache=str(cache)
        )
        module = Pretraining(backbone, objectives, optimizer=optimizer)
        trainer = L.Trainer(
            max_steps=2,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
            **settings,
        )
        trainer.fit(module, data)
        path = tmp_path_factory.mktemp("run") / "last.ckpt"
        trainer.save_checkpoint(path)
        return path

    return run


def _fast(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=0.03)


@pytest.fixture(scope="session")
def tiny_run(train: Train) -> Path:
    """A llama that learned the four objectives for two steps."""
    config = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
        "tie_word_embeddings": True,
    }
    objectives: dict[str, Objective] = {
        "causal": CausalLM(),
        "masked": MaskedLM(),
        "ahead": MaskedLM(predict_from="previous"),
        "order": SentenceOrder(),
        "replaced": ReplacedToken(),
    }
    return train(Backbone("llama", config), objectives)
