"""Small models with random weights, ready to be evaluated."""

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedTokenizerFast

from lm_objectives import Backbone, Pretraining
from lm_objectives.data.tokenizer import make_tokenizer, vocabulary_of
from lm_objectives.evaluation.model import EvaluatedModel, from_module
from lm_objectives.evaluation.readings.base import TextReading
from lm_objectives.evaluation.scorer import Scorer
from lm_objectives.evaluation.texts import Texts, tokenize_texts
from lm_objectives.objectives import Objective
from utils.families import FAMILIES, SEQ2SEQ

SENTENCES = (
    "The dog ran home.",
    "A cat sat.",
    "My son went to the sea and then to the hill.",
    "One bird came away unexpectedly, didn't it?",
    "Extraordinarily long words stand in this sentence, and short ones.",
    "Go!",
)
SEQ_LEN = 96


@lru_cache
def tokenizer(*tokens: str) -> PreTrainedTokenizerFast:
    """A byte-level BPE with so few merges that most words have several tokens."""
    return make_tokenizer(300 + len(tokens), SENTENCES * 3, tokens)


def evaluated(family: str, objectives: dict[str, Objective], scale: float = 4.0, **changes: Any) -> EvaluatedModel:
    """A model whose weights are drawn `scale` times as wide as usual, so that its predictions differ."""
    tokens = [token for o in objectives.values() for token in o.corruption.special_tokens(SEQ_LEN)]
    named = tuple(dict.fromkeys(tokens))
    sizes = (FAMILIES | SEQ2SEQ)[family] | changes
    sizes |= {name: SEQ_LEN + 4 for name in ("max_position_embeddings", "n_positions") if name in sizes}
    module = Pretraining(Backbone(family, sizes), objectives)
    torch.manual_seed(0)
    module.build(vocabulary_of(tokenizer(*named), named), SEQ_LEN, steps=10)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Linear | nn.Embedding) and part.weight is not None:
                part.weight.mul_(scale)
    return from_module(module, tokenizer(*named), None, {"ckpt": "none"})


def texts_of(model: EvaluatedModel, *texts: str | tuple[str, str]) -> Texts:
    """Texts, or pairs of a context and a text."""
    return tokenize_texts(model.tokenizer, [("", text) if isinstance(text, str) else text for text in texts])


def scores(model: EvaluatedModel, name: str, texts: Texts, batch_tokens: int = 16384) -> list[np.ndarray]:
    """The scores of each text's tokens by a reading."""
    reading = model.readings[name]
    assert isinstance(reading, TextReading)
    found = reading.log_probs(texts, Scorer(model.module, model.vocabulary, batch_tokens))
    return np.split(found, texts.scored_bounds[1:-1])


def ids_of(texts: Texts, number: int) -> list[int]:
    """The tokens of one text."""
    return texts.tokens[texts.bounds[number] : texts.bounds[number + 1]].tolist()


def word_slices(model: EvaluatedModel, ids: list[int]) -> list[tuple[int, int]]:
    """Where each word starts and stops: it begins with a space, or with another character than a letter."""
    begins = [n for n, token in enumerate(ids) if n == 0 or not model.tokenizer.decode([token])[0].isalnum()]
    return [*zip(begins, [*begins[1:], len(ids)], strict=True)]
