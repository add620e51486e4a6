"""The infilling reading, against transformers' BART, word by word."""

import numpy as np
import torch
from utils.evaluated import SENTENCES, evaluated, ids_of, scores, texts_of, word_slices

from lm_objectives.export.convert import convert
from lm_objectives.objectives import TextDenoising


def test_it_is_barts_own_answer_for_each_word_given_the_text_before_it() -> None:
    model = evaluated("bart", {"infill": TextDenoising()})
    theirs, known = convert(model.module, "infill")[""], model.vocabulary
    texts = texts_of(model, *SENTENCES)
    for number, found in enumerate(scores(model, "infill", texts, 300)):
        ids = ids_of(texts, number)
        labels = torch.tensor([[known.bos, *ids, known.eos]])
        expected = []
        for first, stop in word_slices(model, ids):
            source = torch.tensor([[known.bos, *ids[:first], known.mask, *ids[stop:], known.eos]])
            with torch.no_grad():
                predicted = theirs(input_ids=source, labels=labels).logits[0].double().log_softmax(1)
            expected += [float(predicted[1 + place, ids[place]]) for place in range(first, stop)]
        np.testing.assert_allclose(found, expected, atol=1e-5)
