"""The masked readings, against a loop over the tokens of each sentence and transformers' own logits."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from utils.evaluated import SENTENCES, evaluated, ids_of, scores, texts_of, word_slices

from lm_objectives.backbone.encode import input_view
from lm_objectives.evaluation.model import EvaluatedModel
from lm_objectives.export.convert import convert
from lm_objectives.objectives import MaskedLM

Logits = Callable[[Tensor], Tensor]


def one_by_one(model: EvaluatedModel, ids: list[int], logits: Logits, back: int, words: list[int]) -> list[float]:
    """ln p of each token with it masked, and with it the later tokens of the same number in `words`."""
    vocabulary = model.vocabulary
    found = []
    for place, token in enumerate(ids):
        hidden = [n for n in range(place, len(ids)) if words[n] == words[place]]
        row = [vocabulary.mask if n in hidden else other for n, other in enumerate(ids)]
        read = logits(torch.tensor([[vocabulary.bos, *row, vocabulary.eos]]))
        found.append(float(read[0, 1 + place - back].double().log_softmax(0)[token]))
    return found


def words_of(model: EvaluatedModel, ids: list[int]) -> list[int]:
    """Number of the word of each token."""
    return [word for word, (first, stop) in enumerate(word_slices(model, ids)) for _ in range(first, stop)]


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert"])
def test_it_is_transformers_own_prediction_of_each_token_alone_and_by_word(family: str) -> None:
    model = evaluated(family, {"masked": MaskedLM()})
    theirs = convert(model.module, "masked")[""]
    texts = texts_of(model, *SENTENCES)
    alone, by_word = (scores(model, name, texts, 200) for name in ("masked", "masked_word"))
    with torch.no_grad():
        for number in range(len(texts)):
            ids = ids_of(texts, number)
            logits: Logits = lambda rows: theirs(rows).logits  # noqa: E731
            every = one_by_one(model, ids, logits, 0, [*range(len(ids))])
            np.testing.assert_allclose(alone[number], every, atol=1e-5)
            np.testing.assert_allclose(
                by_word[number], one_by_one(model, ids, logits, 0, words_of(model, ids)), atol=1e-5
            )
    assert not np.allclose(np.concatenate(alone), np.concatenate(by_word))


def test_one_that_predicts_from_the_position_before_reads_both_ways_there() -> None:
    model = evaluated("llama", {"masked": MaskedLM(predict_from="previous")})
    backbone, objective = model.module.backbone, model.module.objectives["masked"]

    def logits(rows: Tensor) -> Tensor:
        [hidden] = backbone.encode([input_view(rows, "bidirectional")])
        return objective.logits(hidden, backbone.embedding)  # type: ignore[operator]

    texts = texts_of(model, *SENTENCES, ("My son", " went away."))
    found = scores(model, "masked", texts)
    with torch.no_grad():
        for number in range(len(texts)):
            ids = ids_of(texts, number)
            expected = one_by_one(model, ids, logits, 1, [*range(len(ids))])
            np.testing.assert_allclose(found[number], expected[texts.firsts[number] :], atol=1e-5)
