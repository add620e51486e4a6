"""The span reading, against transformers' T5 and against one row of both layouts written by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor
from utils.evaluated import SENTENCES, evaluated, ids_of, scores, texts_of, word_slices

from lm_objectives.backbone.encode import input_view
from lm_objectives.export.convert import convert
from lm_objectives.objectives import Objective, SpanDenoising


@pytest.mark.parametrize("mode", [None, "[R]"])
def test_it_is_t5s_own_answer_for_each_word(mode: str | None) -> None:
    model = evaluated("t5", {"spans": SpanDenoising(mode=mode)}, scale=1.0)
    theirs = convert(model.module, "spans")[""]
    named = dict(model.vocabulary.named_tokens)
    sentinel, begins = named["<extra_id_0>"], [] if mode is None else [named[mode]]
    texts = texts_of(model, *SENTENCES)
    for number, found in enumerate(scores(model, "spans", texts, 300)):
        ids = ids_of(texts, number)
        expected = []
        for first, stop in word_slices(model, ids):
            source = torch.tensor([[*begins, *ids[:first], sentinel, *ids[stop:], model.vocabulary.eos]])
            labels = torch.tensor([[sentinel, *ids[first:stop]]])
            with torch.no_grad():
                logits = theirs(input_ids=source, labels=labels).logits[0, 1:].double()
            expected += logits.log_softmax(1).gather(1, labels[0, 1:, None])[:, 0].tolist()
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_in_one_row_the_input_is_a_prefix_of_what_is_written() -> None:
    objectives: dict[str, Objective] = {"spans": SpanDenoising(layout="prefix")}
    model = evaluated("llama", objectives)
    backbone, sentinel = model.module.backbone, dict(model.vocabulary.named_tokens)["<extra_id_0>"]
    head: Tensor = model.module.objectives["spans"].head(torch.zeros(1, backbone.dim), backbone.embedding)[1]  # type: ignore[operator]
    texts = texts_of(model, *SENTENCES)
    for number, found in enumerate(scores(model, "spans", texts, 300)):
        ids = ids_of(texts, number)
        expected = []
        for first, stop in word_slices(model, ids):
            source = [*ids[:first], sentinel, *ids[stop:], model.vocabulary.eos]
            row = torch.tensor([[*source, sentinel, *ids[first:stop]]])
            with torch.no_grad():
                [hidden] = backbone.encode([input_view(row, "prefix", prefix=len(source))])
                predicted = (hidden[0] @ head.T).double().log_softmax(1)
            expected += [float(predicted[len(source) + n, token]) for n, token in enumerate(ids[first:stop])]
        np.testing.assert_allclose(found, expected, atol=1e-5)
