"""The causal reading: a distribution over strings, and transformers' own logits."""

from itertools import product

import numpy as np
import torch
from utils.evaluated import SENTENCES, evaluated, ids_of, scores, texts_of

from lm_objectives import Backbone, Pretraining, Vocabulary
from lm_objectives.evaluation.readings.causal_lm import CausalReading
from lm_objectives.evaluation.scorer import Scorer
from lm_objectives.evaluation.texts import Texts
from lm_objectives.export.convert import convert
from lm_objectives.objectives import CausalLM


def test_the_probabilities_of_all_strings_of_a_length_sum_to_one() -> None:
    torch.manual_seed(1)
    config = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    vocabulary = Vocabulary(size=5, pad=0, bos=1, eos=2, mask=3)
    module = Pretraining(Backbone("llama", config), {"causal": CausalLM()})
    module.build(vocabulary, 8, steps=1)
    module.double().eval()
    strings = np.array([*product(range(5), repeat=3)])
    bounds, none = np.arange(0, strings.size + 1, 3), np.zeros(len(strings), dtype=np.int64)
    texts = Texts(strings.ravel(), bounds, none, none, none.astype(bool))
    reading = CausalReading(module.objectives["causal"])  # type: ignore[arg-type]
    sums = texts.sums(reading.log_probs(texts, Scorer(module, vocabulary)))
    assert abs(np.exp(sums).sum() - 1) < 1e-12


def test_each_token_has_the_log_probability_that_transformers_gives_it() -> None:
    model = evaluated("llama", {"causal": CausalLM()})
    theirs = convert(model.module, "causal")[""]
    texts = texts_of(model, *SENTENCES, ("The dog", " ran home."))
    for number, found in enumerate(scores(model, "causal", texts, batch_tokens=60)):
        ids = torch.tensor([[model.vocabulary.bos, *ids_of(texts, number)]])
        with torch.no_grad():
            expected = theirs(ids).logits[0, :-1].double().log_softmax(1).gather(1, ids[0, 1:, None])[:, 0]
        np.testing.assert_allclose(found, expected[texts.firsts[number] :], atol=1e-5)
    assert texts.firsts[-1] > 0
