"""Labelled texts from a file, by probe and by fine-tuning."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from utils.evaluated_models import session_of

from lm_objectives.errors import InputError
from lm_objectives.evaluation.model import EvaluatedModel
from lm_objectives.evaluation.tasks.files import read_task
from lm_objectives.evaluation.tasks.fine_tuning import SEEDS
from lm_objectives.evaluation.tasks.labelled import LabelledTask, LabelledText


def texts(split: str, count: int, pairs: bool = False) -> list[LabelledText]:
    """Texts, or pairs whose second text tells the label."""
    draw = np.random.default_rng(len(split))
    made = []
    for number in range(count):
        label = ("dog", "sea", "hill")[number % 3]
        rest = " ".join(draw.choice(["cat", "bird", "home", "my"], 3))
        first = f"One {rest} away." if pairs else f"The {label} {rest}."
        made.append(LabelledText(first, f"A {label}." if pairs else None, f"of {label}", split))
    return made


def test_a_file_gives_a_probe_and_fine_tuning(bert: EvaluatedModel, tmp_path: Path) -> None:
    """Oracle: by hand: readings, metrics, counts and chance; the kept answers of each seed give mean and deviation."""
    lines = [
        {"text": text.text, "text_b": text.text_b, "label": text.label, "split": text.split}
        for text in [
            *texts("train", 60, pairs=True),
            *texts("validation", 9, pairs=True),
            *texts("test", 30, pairs=True),
        ]
    ]
    (tmp_path / "topics.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    session = session_of(bert, store=tmp_path / "kept")
    results = read_task("topics", str(tmp_path / "topics.jsonl")).run(session)
    probe = [(f"bidirectional_layer_{n}", metric) for n in (1, 2) for metric in ("accuracy", "control_accuracy")]
    tuned = [("fine_tuned_first_token", metric) for metric in ("accuracy", "accuracy_seed_deviation")]
    assert [(result.reading, result.metric) for result in results] == probe + tuned
    assert {result.task for result in results} == {"topics"}
    assert all(result.chance == pytest.approx(1 / 3) and result.n == 30 for result in results[:-1])
    assert min(result.value for result in results[:4]) > 0.8
    mean, deviation = results[-2:]
    assert mean.items is not None
    correct = np.load(tmp_path / mean.items)["correct"]
    assert correct.shape == (SEEDS, 30) and mean.value == pytest.approx(correct.mean())
    assert deviation.value == pytest.approx(np.std([row.mean() for row in correct], ddof=1)) and deviation.n == SEEDS
    assert mean.item_se == pytest.approx(correct.mean(0).std(ddof=1) / np.sqrt(30))  # of each item over the seeds
    assert read_task("topics", str(tmp_path / "topics.jsonl")).run(session) == results


def test_without_a_test_split_the_validation_split_is_tested_on(bert: EvaluatedModel) -> None:
    """Oracle: the parts by hand: all of validation is tested on, and a tenth of train chooses the rate."""
    task = LabelledTask("topics", [*texts("train", 20), *texts("validation", 9)])
    parts = task._parts(session_of(bert))
    assert [text.split for text in parts] == ["train"] * 18 + ["validation"] * 2 + ["test"] * 9
    assert {text.text for text in parts[20:]} == {text.text for text in task.texts[20:]}
    capped = task._parts(session_of(bert, items=5))
    assert [text.split for text in capped] == ["train"] * 4 + ["validation"] + ["test"] * 5
    assert {text.text for text in capped} <= {text.text for text in parts}


def test_few_texts_are_fine_tuned_without_a_probe(llama: EvaluatedModel) -> None:
    """Oracle: the note, and the readings that are left."""
    session = session_of(llama)
    results = LabelledTask("few", [*texts("train", 9), *texts("test", 6)]).run(session)
    assert session.notes == ["few: linear probe left out: 0 labels with 5 training items or more, of 2 at least"]
    assert {result.reading for result in results} == {"fine_tuned_last_token"}
    assert results[-1].n == SEEDS  # also where the validation part is a part of train


def test_a_label_that_is_not_trained_on_is_told_and_texts_of_both_parts_are_counted(llama: EvaluatedModel) -> None:
    """Oracle: the message and the note, by hand."""
    trained, tested = texts("train", 20), texts("test", 9)
    with pytest.raises(InputError, match=r"labels of the split test that train has in topics, found odd: check"):
        LabelledTask("topics", [*trained, *tested, replace(tested[0], label="odd")]).run(session_of(llama))
    session = session_of(llama)
    LabelledTask("topics", [*trained, *(replace(text, split="test") for text in trained[:8])])._parts(session)
    assert len(session.notes) == 1 and "tested texts are trained on too" in session.notes[0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (texts("train", 9), "items of the split test or validation in topics, found train: add some"),
        (
            texts("test", 9),
            "items of two labels or more to train on in topics, found none alone: add some of the split train",
        ),
        (
            [*texts("train", 1), *texts("test", 9)],
            "items of two labels or more to train on in topics, found of dog alone: add some of the split train",
        ),
    ],
)
def test_what_lacks_a_part_is_refused(given: list[LabelledText], message: str) -> None:
    """Oracle: the message, before there is a model."""
    with pytest.raises(InputError) as raised:
        LabelledTask("topics", given)
    assert str(raised.value) == f"expected {message}"


def test_too_few_items_are_refused(bert: EvaluatedModel) -> None:
    """Oracle: the message; of one item a split none is left to train on."""
    task = LabelledTask("topics", [*texts("train", 9), *texts("test", 9)])
    with pytest.raises(
        InputError, match=r"^expected items of two labels or more to train on in topics, .*raise --items$"
    ):
        task.run(session_of(bert, items=1))
