"""A model is as it was after its evaluation, and other settings of its objectives are another model."""

import re
from importlib import util
from pathlib import Path

import pytest
import torch
from utils.evaluated import SENTENCES, evaluated

from lm_objectives import CausalLM, InputError, Objective, ReplacedToken, SentenceOrder
from lm_objectives.corruptions.sentence_order import SentenceOrderPairs
from lm_objectives.evaluation.evaluate import identity_of, make_tasks, run_tasks
from lm_objectives.evaluation.tasks.choices import Choice, ChoiceTask
from lm_objectives.evaluation.tasks.probes import Probes
from lm_objectives.objectives import ClassificationObjective, MaskedLM

TASK = ChoiceTask("own", [Choice("", (good, "A dog."), 0) for good in SENTENCES])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_weights_have_their_precision_again(dtype: torch.dtype) -> None:
    model = evaluated("llama", {"causal": CausalLM()})
    module = model.module.to(dtype)
    before = {name: value.clone() for name, value in [*module.named_parameters(), *module.named_buffers()]}
    double = run_tasks(model, [TASK], model.readings, precision="64-true")
    single = run_tasks(model, [TASK], model.readings)
    assert double.results[0].value == single.results[0].value
    after = dict([*module.named_parameters(), *module.named_buffers()])
    assert all(torch.equal(value, after[name]) and after[name].dtype == value.dtype for name, value in before.items())


def test_an_objective_without_a_reading_is_told_once() -> None:
    class Own(ClassificationObjective):
        def __init__(self) -> None:
            super().__init__(SentenceOrderPairs())

    objectives: dict[str, Objective] = {"causal": CausalLM(), "order": SentenceOrder(), "own": Own()}
    model = evaluated("llama", objectives)
    assert list(model.readings) == ["causal", "order"]
    notes = run_tasks(model, [TASK], model.readings).notes
    assert notes == ["own: a Own has no reading; register one with readings_of"]


def test_readings_of_one_name_are_told_apart_by_their_objectives() -> None:
    objectives: dict[str, Objective] = {"a": MaskedLM(), "b": MaskedLM(predict_from="previous"), "causal": CausalLM()}
    names = list(evaluated("llama", objectives).readings)
    assert names == ["masked:a", "masked_word:a", "masked:b", "masked_word:b", "causal", "fused"]


def test_scores_of_other_settings_are_not_taken_for_these(tmp_path: Path) -> None:
    of = {rate: evaluated("electra", {"replaced": ReplacedToken(mask_rate=rate)}) for rate in (0.1, 0.3)}
    assert of[0.1].description["weights"] == of[0.3].description["weights"]
    assert identity_of(of[0.1]) != identity_of(of[0.3])


def test_a_missing_scikit_learn_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    found = util.find_spec
    hide = lambda name, package=None: None if name == "sklearn" else found(name, package)  # noqa: E731
    monkeypatch.setattr("lm_objectives.evaluation.evaluate.find_spec", hide)
    with pytest.raises(InputError, match=re.escape('scikit-learn for probes, found none: pip install "lm-objectives[')):
        make_tasks(["probes"])
    model = evaluated("llama", {"causal": CausalLM()})
    notes = run_tasks(model, [TASK, Probes()], model.readings, leaves_out=True).notes
    assert len(notes) == 1 and notes[0].startswith("probes: left out: expected scikit-learn for probes")
