"""Tokenized texts: their tokens are the tokenizer's, contexts are cut from the left, sums are exact."""

import math

import numpy as np
from utils.evaluated import SENTENCES, ids_of, tokenizer

from lm_objectives.evaluation.texts import tokenize_texts


def test_a_text_has_the_tokens_that_training_reads_without_the_special_ones() -> None:
    texts = tokenize_texts(tokenizer(), [("", sentence) for sentence in SENTENCES])
    for number, sentence in enumerate(SENTENCES):
        assert [tokenizer().bos_token_id, *ids_of(texts, number), tokenizer().eos_token_id] == tokenizer()(
            sentence
        ).input_ids
    assert not texts.firsts.any() and len(texts) == len(SENTENCES)


def test_after_a_context_the_tokens_that_reach_beyond_it_are_scored() -> None:
    texts = tokenize_texts(tokenizer(), [("The dog ran", " home."), ("", "[MASK] home.")])
    scored = [tokenizer().decode(ids_of(texts, n)[texts.firsts[n] :]) for n in range(2)]
    assert scored == [" home.", " [MASK] home."]  # what looks like a special token is text
    assert tokenizer().mask_token_id not in texts.tokens


def test_the_start_of_a_long_context_is_cut_and_no_scored_token() -> None:
    texts = tokenize_texts(tokenizer(), [("The dog ran and the dog ran", " home."), ("", "A cat sat.")])
    cut = texts.cut(int(texts.scored.max()) + 2)
    assert cut.truncated.tolist() == [True, False]
    assert cut.scored.tolist() == texts.scored.tolist()
    assert ids_of(cut, 0) == ids_of(texts, 0)[-cut.lengths[0] :] and ids_of(cut, 1) == ids_of(texts, 1)


def test_sums_are_those_of_exact_addition() -> None:
    texts = tokenize_texts(tokenizer(), [("", sentence) for sentence in SENTENCES])
    values = (
        np.random.default_rng(0).normal(size=texts.scored_bounds[-1])
        * 10.0 ** np.arange(-8, 8).repeat(50)[: texts.scored_bounds[-1]]
    )
    parts = np.split(values, texts.scored_bounds[1:-1])
    np.testing.assert_allclose(texts.sums(values), [math.fsum(part) for part in parts], rtol=1e-12, atol=1e-12)
    again = tokenize_texts(tokenizer(), [("", sentence) for sentence in (*SENTENCES, *SENTENCES)])
    twice = again.sums(np.tile(values, 2))
    assert twice[: len(texts)].tolist() == twice[len(texts) :].tolist() == texts.sums(values).tolist()  # or ties break
