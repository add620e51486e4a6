"""ELECTRA's readings: transformers' generator and discriminator, and a toy whose true probabilities are known."""

import numpy as np
import torch
from utils.evaluated import SENTENCES, evaluated, ids_of, scores, texts_of

from lm_objectives.evaluation.readings.replaced_token import implied_log_probs
from lm_objectives.export.convert import convert
from lm_objectives.objectives import ReplacedToken


def test_generator_and_detector_are_transformers_own_and_electric_is_made_of_both() -> None:
    model = evaluated("electra", {"replaced": ReplacedToken(mask_rate=0.2)})
    models, known = convert(model.module, "replaced"), model.vocabulary
    texts = texts_of(model, *SENTENCES)
    detector, generator, electric = (scores(model, name, texts, 300) for name in ("detector", "generator", "electric"))
    for number in range(len(texts)):
        ids = ids_of(texts, number)
        rows = torch.tensor([[known.bos, *ids, known.eos]])
        masked = rows.repeat(len(ids), 1)
        masked[range(len(ids)), range(1, len(ids) + 1)] = known.mask
        with torch.no_grad():
            logits = models[""](rows).logits[0, 1:-1].double()
            predicted = models["generator"](masked).logits.double().log_softmax(2)
        q = predicted[range(len(ids)), range(1, len(ids) + 1), ids]
        np.testing.assert_allclose(detector[number], torch.log(1 - logits.sigmoid()), atol=1e-5)
        np.testing.assert_allclose(generator[number], q, atol=1e-5)
        odds = logits.exp()  # m q (1 - p) / (p (1 - m + m q)), solved for p
        m = 0.2 * 0.85  # those that stay visible are copied
        p = m * q.exp() / (m * q.exp() + odds * (1 - m + m * q.exp()))
        np.testing.assert_allclose(electric[number], p.log(), atol=1e-4)


def test_electric_gives_back_the_probability_that_the_labels_were_drawn_with() -> None:
    rng = np.random.default_rng(0)
    p, q, m = rng.uniform(0.01, 0.99, 1000), rng.uniform(0.01, 0.99, 1000), 0.15
    replaced = m * q * (1 - p)  # P(this token here, put there by the generator in place of another)
    original = p * (1 - m + m * q)  # P(this token here, left alone or sampled again)
    found = implied_log_probs(np.log(replaced / original), np.log(q), m)
    np.testing.assert_allclose(np.exp(found), p, rtol=1e-12)


def test_a_rate_that_moves_counts_where_it_ends() -> None:
    model = evaluated("electra", {"replaced": ReplacedToken(mask_rate=[[0, 0.3], [5, 0.1]], mask_share=1.0)})
    assert model.readings["electric"].rate == 0.1  # type: ignore[attr-defined]
