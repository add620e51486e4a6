"""Scores do not depend on what is scored beside them, nor on the order, precision is what it says."""

import numpy as np
import pytest
import torch
from utils.evaluated import SENTENCES, evaluated, scores, texts_of

from lm_objectives.evaluation.scorer import Scorer, batches
from lm_objectives.objectives import CausalLM, MaskedLM, Objective, ReplacedToken, SpanDenoising, TextDenoising

CASES: dict[str, tuple[str, Objective]] = {
    "causal": ("llama", CausalLM()),
    "masked_word": ("bert", MaskedLM()),
    "electric": ("electra", ReplacedToken()),
    "spans": ("t5", SpanDenoising()),
    "infill": ("bart", TextDenoising()),
}


@pytest.mark.parametrize("name", CASES)
def test_a_row_alone_and_all_at_once_give_the_same(name: str) -> None:
    family, objective = CASES[name]
    model = evaluated(family, {"one": objective}, scale=1.0)
    texts = texts_of(model, *SENTENCES * 2)
    alone, together = (np.concatenate(scores(model, name, texts, size)) for size in (1, 1 << 20))
    np.testing.assert_allclose(alone, together, atol=1e-5)
    assert np.isfinite(alone).all()
    half = len(alone) // 2
    np.testing.assert_allclose(together[:half], together[half:], atol=1e-5)  # each sentence twice


def test_batches_hold_each_row_once_and_no_more_tokens_than_asked_for() -> None:
    widths = np.sort(np.random.default_rng(0).integers(1, 60, 500))
    made = [*batches(widths, 128)]
    assert np.concatenate([np.arange(500)[batch] for batch in made]).tolist() == [*range(500)]
    assert all(widths[batch].max() * len(widths[batch]) <= 128 for batch in made)
    assert np.mean([np.ptp(widths[batch]) == 0 for batch in made]) > 0.7  # most without padding


def test_half_precision_rounds_and_double_does_not() -> None:
    model = evaluated("llama", {"causal": CausalLM()}, scale=1.0)
    texts, reading = texts_of(model, *SENTENCES), model.readings["causal"]
    single = Scorer(model.module, model.vocabulary).run(reading, texts)  # type: ignore[arg-type]
    half = Scorer(model.module, model.vocabulary, precision="bf16-mixed").run(reading, texts)  # type: ignore[arg-type]
    model.module.double()
    double = Scorer(model.module, model.vocabulary, precision="64-true").run(reading, texts)  # type: ignore[arg-type]
    assert 0 < np.abs(single - double).max() < 1e-5 < np.abs(half - double).max() < 0.2


def test_a_reading_that_scores_other_positions_than_it_said_is_one_line() -> None:
    from lm_objectives import InputError
    from lm_objectives.evaluation.readings.causal_lm import CausalReading

    class Short(CausalReading):
        def position_log_probs(self, module, view):  # type: ignore[no-untyped-def]
            return super().position_log_probs(module, view)[1:]

    model = evaluated("llama", {"causal": CausalLM()})
    with pytest.raises(InputError, match=r"a log-probability for each of .* scored tokens from Short, found"):
        Scorer(model.module, model.vocabulary).run(Short(model.module.objectives["causal"]), texts_of(model, "A cat."))  # type: ignore[arg-type]
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(("family", "name"), [("bert", "masked"), ("electra", "generator"), ("llama", "causal")])
def test_half_precision_makes_no_ties_since_logits_are_single(family: str, name: str) -> None:
    objectives: dict[str, Objective] = {"bert": MaskedLM(), "electra": ReplacedToken(), "llama": CausalLM()}
    model = evaluated(family, {"one": objectives[family]}, scale=1.0)
    texts, reading = texts_of(model, *SENTENCES), model.readings[name]
    half = Scorer(model.module, model.vocabulary, precision="bf16-mixed").run(reading, texts)  # type: ignore[arg-type]
    rounded = torch.from_numpy(half).bfloat16().double().numpy()
    assert np.mean(rounded == half) < 0.1
