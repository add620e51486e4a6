"""Small models with fresh weights, as an evaluation reads them, and a corpus that holds out many sentences."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lm_objectives import Backbone, Pretraining
from lm_objectives.data.cache import open_cache
from lm_objectives.data.preparation.prepare import prepare
from lm_objectives.evaluation.model import EvaluatedModel, from_module
from lm_objectives.evaluation.store import ItemStore
from lm_objectives.evaluation.tasks.base import Session
from lm_objectives.objectives import Objective
from utils.families import FAMILIES, SEQ2SEQ

SEQ_LEN = 32
WORDS = ("dog", "cat", "bird", "son", "sea", "hill", "home", "runs", "sits", "goes", "came", "away", "the", "one", "my")
TOPICS = ("winter", "summer", "river", "garden", "window", "kitchen")
"""Words of which six sentences in a hundred have one."""


def write_sentences(path: Path) -> Path:
    """Documents of two paragraphs of eight sentences, in one file of JSON lines."""
    draw = random.Random(0)
    lines = []
    for _ in range(60):
        sentences = []
        for _ in range(16):
            words = draw.choices(WORDS, k=draw.randint(4, 13))
            if draw.random() < 0.06:
                words[draw.randrange(1, len(words) - 1)] = draw.choice(TOPICS)
            sentences.append(f"{' '.join(words).capitalize()}.")
        text = "\\n\\n".join(" ".join(sentences[at : at + 8]) for at in range(0, 16, 8))
        lines.append(f'{{"text": "{text}"}}\n')
    path.write_text("".join(lines), encoding="utf-8")
    return path


def evaluated(
    corpus: Path, family: str, objectives: Mapping[str, Objective], seed: int = 0, tokenizer: int = 320, **changes: Any
) -> EvaluatedModel:
    """A model of a family with the weights of a seed; its corpus is tokenized next to its file."""
    module = Pretraining(Backbone(family, (FAMILIES | SEQ2SEQ)[family] | changes), dict(objectives))
    tokens = sorted({token for o in objectives.values() for token in o.corruption.special_tokens(SEQ_LEN)})
    settings = {"validation_share": 0.7, "tokenizer": tokenizer, "tokens": tuple(tokens), "pairs": True}
    folder = prepare(corpus.parent / "cache", str(corpus), **settings)
    cache = open_cache(folder)
    torch.manual_seed(seed)
    module.build(cache.vocabulary, SEQ_LEN, steps=1)
    return from_module(module, cache.tokenizer, cache, {})


def session_of(model: EvaluatedModel, items: int = 0, seed: int = 0, store: Path | None = None) -> Session:
    """A session of all readings."""
    return Session(model, model.readings, items, seed, 2048, "32-true", ItemStore(store, "basis"), [])
