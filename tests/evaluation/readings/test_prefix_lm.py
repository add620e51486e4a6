"""The prefix reading of both layouts: the context both ways, and the rest one by one."""

import numpy as np
import torch
from utils.evaluated import evaluated, ids_of, scores, texts_of

from lm_objectives.backbone.encode import input_view
from lm_objectives.export.convert import convert
from lm_objectives.objectives import PrefixLM

PAIRS = (("The dog", " ran home."), ("", "A cat sat."), ("My son went to", " the sea and then away."))


def test_one_row_attends_to_its_context_both_ways() -> None:
    model = evaluated("llama", {"prefix": PrefixLM()})
    backbone, bos = model.module.backbone, model.vocabulary.bos
    texts = texts_of(model, *PAIRS)
    for number, found in enumerate(scores(model, "prefix", texts)):
        ids, first = ids_of(texts, number), int(texts.firsts[number])
        with torch.no_grad():
            [hidden] = backbone.encode([input_view(torch.tensor([[bos, *ids]]), "prefix", prefix=1 + first)])
            predicted = model.module.objectives["prefix"].logits(hidden[0], backbone.embedding)  # type: ignore[operator]
        expected = predicted.double().log_softmax(1)[range(first, len(ids)), ids[first:]]
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_an_encoder_has_the_context_and_the_decoder_writes_the_rest_as_transformers_says() -> None:
    model = evaluated("t5", {"prefix": PrefixLM(layout="encoder-decoder")}, scale=1.0)
    theirs = convert(model.module, "prefix")[""]
    texts = texts_of(model, *PAIRS)
    for number, found in enumerate(scores(model, "prefix", texts)):
        ids, first = ids_of(texts, number), int(texts.firsts[number])
        labels = torch.tensor([ids[first:]])
        with torch.no_grad():
            logits = theirs(input_ids=torch.tensor([[model.vocabulary.bos, *ids[:first]]]), labels=labels).logits
        expected = logits[0].double().log_softmax(1).gather(1, labels[0, :, None])[:, 0]
        np.testing.assert_allclose(found, expected, atol=1e-5)
