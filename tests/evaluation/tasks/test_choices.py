"""Accuracies of choices: ties count a part, exchanging right and wrong mirrors them, groups count alike."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from utils.evaluated import SENTENCES, evaluated, scores, texts_of

from lm_objectives import InputError
from lm_objectives.evaluation.model import EvaluatedModel
from lm_objectives.evaluation.results import Result
from lm_objectives.evaluation.store import ItemStore
from lm_objectives.evaluation.tasks.base import Session
from lm_objectives.evaluation.tasks.choices import Choice, ChoiceTask, macro_mean, select
from lm_objectives.objectives import CausalLM

PAIRS = [Choice("", (good, bad), 0, f"group {n % 2}") for n, (good, bad) in enumerate(pairwise(SENTENCES))]


@pytest.fixture(scope="module")
def model() -> EvaluatedModel:
    return evaluated("llama", {"causal": CausalLM()})


def session(model: EvaluatedModel, folder: Path | None = None, items: int = 0) -> Session:
    return Session(model, model.readings, items, 0, 4096, "32-true", ItemStore(folder, "basis"), [])


def result(model: EvaluatedModel, choices: list[Choice], metric: str = "accuracy") -> Result:
    [found] = [r for r in ChoiceTask("pairs", choices, "UID").run(session(model)) if r.metric == metric]
    return found


def test_a_model_of_constant_logits_ties_everywhere_and_counts_half(model: EvaluatedModel) -> None:
    constant = evaluated("llama", {"causal": CausalLM()})
    with torch.no_grad():
        for parameter in constant.module.parameters():
            parameter.zero_()
    mean = result(constant, PAIRS, "accuracy_by_mean")  # whatever their lengths, ln V a token
    assert (mean.value, mean.ties) == (0.5, len(PAIRS))
    same = [Choice("", ("xyz.", "zyx.", "yzx."), number) for number in range(3)]
    texts = texts_of(constant, *same[0].options)
    assert len({*texts.scored.tolist()}) == 1
    found = result(constant, same)
    assert (found.value, found.ties, found.chance) == (pytest.approx(1 / 3), 3, pytest.approx(1 / 3))


def test_exchanging_right_and_wrong_mirrors_the_accuracy(model: EvaluatedModel) -> None:
    other = [Choice("", choice.options[::-1], 0, choice.group) for choice in PAIRS]
    assert result(model, PAIRS).value + result(model, other).value == 1
    relabelled = [Choice("", choice.options[::-1], 1, choice.group) for choice in PAIRS]
    assert result(model, relabelled).value == result(model, PAIRS).value


def test_the_options_scores_are_those_of_the_sentences_after_their_context(model: EvaluatedModel) -> None:
    choice = Choice("The dog", (" ran home.", " sat.", " came away to the sea."), 1)
    texts = texts_of(model, *(("The dog", option) for option in choice.options))
    sums = [float(found.sum()) for found in scores(model, "causal", texts)]
    found = result(model, [choice])
    assert found.value == float(np.argmax(sums) == 1)
    assert found.chance == pytest.approx(1 / 3)


def test_groups_count_alike_and_the_error_is_that_of_independent_items() -> None:
    credit = np.array([1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0])
    groups, value, error = macro_mean(credit, ["a"] * 2 + ["b"] * 6)
    assert groups == {"a": 1.0, "b": pytest.approx(1 / 3)} and value == pytest.approx(2 / 3)
    assert error == pytest.approx(np.std(credit[2:], ddof=1) / np.sqrt(6) / 2)
    assert macro_mean(credit, ["a"] + ["b"] * 7)[2] is None  # nothing is known of the spread of one item


def test_so_many_items_of_each_group_are_chosen_by_the_seed_alone() -> None:
    many = [Choice("", (f"good {n}", f"bad {n}"), 0, str(n % 3)) for n in range(90)]
    some = select(many, 10, 0)
    assert [sum(choice.group == group for choice in some) for group in "012"] == [10, 10, 10]
    assert some == select(many, 10, 0) != select(many, 10, 1)
    assert select(many[:5], 10, 0) == many[:5] == select(many[:5], 0, 0)


def test_kept_scores_are_used_and_other_items_scored_anew(model: EvaluatedModel, tmp_path: Path) -> None:
    task, kept = ChoiceTask("pairs", PAIRS), session(model, tmp_path)
    first = task.run(kept)
    [file] = tmp_path.iterdir()
    with np.load(file, allow_pickle=False) as arrays:
        assert {"sums", "tokens", "bounds", "labels", "groups"} == {*arrays.files}
        raised = arrays["sums"] + np.tile([1000.0, 0.0], len(PAIRS))
        changed = {name: arrays[name] for name in arrays.files} | {"sums": raised}
    np.savez_compressed(file, **changed)
    assert [r.value for r in task.run(kept) if r.metric == "accuracy"] == [1.0]  # read, not scored
    assert first[0].items == f"{tmp_path.name}/{file.name}"
    ChoiceTask("pairs", PAIRS[1:]).run(kept)
    assert len([*tmp_path.iterdir()]) == 2
    file.write_bytes(b"half a file")
    assert [r.value for r in task.run(kept)] == [r.value for r in first]


def test_texts_without_tokens_or_longer_than_the_model_reads_are_one_line(model: EvaluatedModel) -> None:
    long = Choice("", ("home " * 200, "A cat."), 0, where="pairs.jsonl line 3")
    with pytest.raises(InputError, match=r"texts of at most 92 tokens, .* in pairs.jsonl line 3, found"):
        result(model, [long])
    cut = result(model, [Choice("home " * 200, ("The dog ran.", "A cat sat."), 0)])
    assert cut.truncated == 1


def test_a_diverged_model_is_told_and_not_scored_0(model: EvaluatedModel) -> None:
    diverged = evaluated("llama", {"causal": CausalLM()})
    with torch.no_grad():
        diverged.module.backbone.embedding[0, 0] = float("nan")
    with pytest.raises(InputError, match=r"finite scores from CausalReading on texts, found .* that are not: use"):
        result(diverged, PAIRS)
