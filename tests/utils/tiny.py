"""Tiny backbones, and views made by the objectives' own corruptions."""

from typing import Any

import numpy as np
import torch

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.corruptions.random import derive_seed, row_keys
from lm_objectives.objectives import Objective
from lm_objectives.views import Rows, View, Vocabulary
from utils.ragged import pad_rows

SPECIAL = (0, 1, 2, 3)
WINDOW = 12
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 2, "tie_word_embeddings": True},
    "gpt2": {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0},
    "bert": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
}


def vocabulary(size: int = 67) -> Vocabulary:
    return Vocabulary(size=size, pad=0, bos=1, eos=2, mask=3, special=SPECIAL)


def backbone(family: str, size: int = 67, **changes: Any) -> Backbone:
    """A fresh backbone of two layers, the same each time."""
    torch.manual_seed(0)
    config: dict[str, Any] = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4}
    config["n_inner" if family == "gpt2" else "intermediate_size"] = 48
    made = Backbone(family, config | CONFIGS.get(family, {}) | changes)
    made.setup(vocabulary(size), WINDOW)
    return made


def built(objective: Objective, on: Backbone) -> Objective:
    torch.manual_seed(1)
    objective.setup(on, vocabulary(on.embedding.shape[0]))
    return objective


def rows(count: int = 6, size: int = 67, seed: int = 0) -> Rows:
    """Pairs from bos to eos of different lengths, some shorter than the window."""
    generator = np.random.default_rng(seed)
    texts, seconds = [], []
    for length in generator.integers(6, WINDOW + 1, count):
        middle = int(generator.integers(3, length - 2))
        text = generator.integers(4, size, length)
        text[0], text[middle - 1], text[-1] = 1, 2, 2
        texts.append(text)
        seconds.append(middle)
    ids, lengths = pad_rows(texts, WINDOW, 0)
    position = np.arange(WINDOW)
    segments = (position >= np.array(seconds)[:, None]) & (position < lengths[:, None])
    keys = row_keys(derive_seed("tiny", seed), np.arange(count))
    return Rows(keys, ids, lengths, token_type_ids=segments.astype(np.int64), labels=generator.integers(0, 2, count))


def view(objective: Objective, count: int = 6, size: int = 67, seed: int = 0) -> View:
    return objective.corruption.corrupt(rows(count, size, seed), vocabulary(size))


def loss_sums(objective: Objective, on: Backbone, of: View) -> dict[str, torch.Tensor]:
    """What the module does: complete, encode, score."""
    completed = objective.fill_in(of, on.embedding_parameters())
    [hidden] = on.encode([completed])
    return objective.compute_loss(hidden, completed, on.embedding).loss_sums


def loss(objective: Objective, on: Backbone, of: View) -> torch.Tensor:
    """Nats per scored position, parts by their factors."""
    found = loss_sums(objective, on, of)
    return sum(
        (factor * found[part] / of.counts[part] for part, factor in objective.loss_weights.items()),
        start=torch.zeros(()),
    )


def gradients(value: torch.Tensor, *modules: torch.nn.Module) -> list[torch.Tensor]:
    """Gradients of all parameters, zeros where there is none."""
    parameters = [parameter for module in modules for parameter in module.parameters()]
    return list(torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True))
