"""What the benchmarks train: one model description, and our loop over it."""

import logging
import tempfile
import warnings
from collections.abc import Callable
from typing import Any

import lightning.pytorch as L

from lm_objectives import Backbone, Pretraining, TextDataModule
from lm_objectives.balancers import Balancer
from lm_objectives.objectives import CausalLM, MaskedLM, Objective, ReplacedToken, SentenceOrder

warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
CACHE = tempfile.mkdtemp()


def backbone(width: int, layers: int, model_type: str = "bert") -> Backbone:
    """A model without dropout, so that peers do the same arithmetic."""
    config: dict[str, Any] = {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 64,
        "intermediate_size": 4 * width,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
    }
    if model_type == "bert":
        config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return Backbone(model_type, config)


def four_objectives() -> dict[str, Objective]:
    """The four objectives as published."""
    return {"causal": CausalLM(), "masked": MaskedLM(), "order": SentenceOrder(), "replaced": ReplacedToken()}


def data(rows: int, window: int, vocabulary: int, kind: type[TextDataModule] = TextDataModule, **settings: Any) -> Any:
    """The shipped corpus."""
    return kind(
        tokenizer=vocabulary, seq_len=window, global_batch_size=rows, batch_multiple=rows // 4, cache=CACHE, **settings
    )


class _EndOfStep(L.Callback):
    def __init__(self, turn: Callable[[Any], None]) -> None:
        self._turn = turn

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._turn(batch)


def fit(module: Pretraining, datamodule: TextDataModule, turn: Callable[[Any], None]) -> None:
    """Train by Lightning's Trainer; `turn` gets each step's batch."""
    trainer = L.Trainer(
        max_steps=100_000,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        callbacks=[_EndOfStep(turn)],
    )
    trainer.fit(module, datamodule)


def module(
    objectives: dict[str, Objective],
    width: int,
    layers: int,
    balancer: Balancer | None = None,
    model_type: str = "bert",
) -> Pretraining:
    """Our module with its defaults, AdamW among them."""
    return Pretraining(backbone(width, layers, model_type), objectives, balancer)
