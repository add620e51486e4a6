"""Fine-tuning on labels that a text shows plainly."""

from pathlib import Path

import numpy as np
import pytest
import torch
from utils.evaluated_models import evaluated

from lm_objectives.evaluation.model import EvaluatedModel
from lm_objectives.evaluation.tasks.fine_tuning import RATES, LabelledData, correct_labels, fine_tune, train
from lm_objectives.evaluation.tasks.frozen_states import frame_texts
from lm_objectives.evaluation.tasks.label_models import label_reading
from lm_objectives.objectives import SpanDenoising


def plain_data(model: EvaluatedModel, count: int, held_out: int = 30) -> LabelledData:
    """Texts of one of two words, which is the label; of each part as many are held out."""
    texts = [(f"{' '.join([('dog', 'sea')[number % 2]] * (2 + number % 5))}.", None) for number in range(count)]
    framed = frame_texts(model, texts, label_reading(model).prefix)
    parts = np.split(np.arange(count), [count - 2 * held_out, count - held_out])
    return LabelledData(framed, ["dog", "sea"], np.arange(count) % 2, *parts)


@pytest.mark.parametrize("family", ["bert", "llama", "t5"])
def test_a_plain_label_is_learned(sentences: Path, bert: EvaluatedModel, llama: EvaluatedModel, family: str) -> None:
    """Oracle: the label is a word of the text, and coins are right half of the time."""
    t5 = lambda: evaluated(sentences, "t5", {"spans": SpanDenoising()})  # noqa: E731
    model = {"bert": bert, "llama": llama}.get(family) or t5()
    data = plain_data(model, 360)
    tuned = train(model, label_reading(model), data, 3e-3, seed=0)
    assert correct_labels(tuned, data, data.test, 512).mean() > 0.9


def test_the_rate_is_the_best_on_the_validation_part_and_the_model_stays(llama: EvaluatedModel) -> None:
    """Oracle: weights and random numbers from before, bit by bit; a second call; how many steps there are."""
    data = plain_data(llama, 40, 10)
    before = {name: value.clone() for name, value in llama.module.state_dict().items()}
    torch.manual_seed(5)
    state, steps = torch.get_rng_state(), list[int]()
    found = fine_tune(llama, label_reading(llama), data, 0, 512, steps.append)
    assert all(value.equal(before[name]) for name, value in llama.module.state_dict().items())
    assert torch.get_rng_state().equal(state) and not llama.module.training
    assert not any(parameter.grad is not None for parameter in llama.module.parameters())
    assert sum(steps) == 5 * data.steps == 5 * 3 * 2
    assert [*found.validation] == [*RATES] and found.validation[found.rate] == max(found.validation.values())
    assert found.correct.shape == (3, 10)
    again = fine_tune(llama, label_reading(llama), data, 0, 512)
    assert (again.correct == found.correct).all() and again.validation == found.validation


def test_a_seed_gives_the_same_weights_and_another_gives_others(llama: EvaluatedModel) -> None:
    """Oracle: two runs, bit by bit."""
    data, reading = plain_data(llama, 40, 10), label_reading(llama)
    one, same, other = (train(llama, reading, data, 1e-3, seed).state_dict() for seed in (1, 1, 2))
    assert all(value.equal(same[name]) for name, value in one.items())
    assert not one["weight"].equal(other["weight"])


def test_training_is_adamw_with_linear_warmup_and_decay(llama: EvaluatedModel) -> None:
    """Oracle: a rate of 0 moves nothing, and Adam moves a weight by about the rate in each step."""
    data, reading = plain_data(llama, 8 * 16 + 2, 1), label_reading(llama)
    moved = train(llama, reading, data, 1e-3, seed=1).state_dict()
    still = train(llama, reading, data, 0.0, seed=1).state_dict()
    trained = llama.module.backbone.state_dict()
    assert all(still[f"backbone.{name}"].equal(value) for name, value in trained.items())
    assert not moved["backbone.model.norm.weight"].equal(trained["model.norm.weight"])
    largest = max(float((moved[f"backbone.{name}"] - value).abs().max()) for name, value in trained.items())
    bound = 1e-3 * data.steps / 2  # Adam moves a weight by about its rate a step, whose mean is half of the peak
    assert bound / 10 < largest < 1.2 * bound
