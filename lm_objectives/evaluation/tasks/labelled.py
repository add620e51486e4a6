"""Tell the labels of texts: by a linear probe on frozen states, and by fine-tuning the whole model."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import get_args

import numpy as np

from lm_objectives.corruptions.random import derive_seed
from lm_objectives.data.preparation.progress import progress_bar
from lm_objectives.errors import expect
from lm_objectives.evaluation.results import Result
from lm_objectives.evaluation.store import Arrays
from lm_objectives.evaluation.tasks.base import Session, Task
from lm_objectives.evaluation.tasks.fine_tuning import RATES, SEEDS, LabelledData, fine_tune
from lm_objectives.evaluation.tasks.frozen_states import frame_texts
from lm_objectives.evaluation.tasks.label_models import Pooling, label_reading
from lm_objectives.evaluation.tasks.linear_probe import (
    LinearProbes,
    ProbeItem,
    accuracy_result,
    problem_of,
)

_TESTED = ("test", "validation")  # the first of these that there is

FINE_TUNED = {pooling: f"fine_tuned_{pooling.replace(' ', '_')}" for pooling in get_args(Pooling)}
"""The reading of a fine-tuned model by what its head reads."""


@dataclass(frozen=True)
class LabelledText:
    """A text, or a pair of them, and its label.

    Attributes:
        text: the first.
        text_b: the second, `None` where there is one alone.
        label: its name.
        split: train, validation or test.
        where: the place that it comes from, for messages.
    """

    text: str
    text_b: str | None
    label: str
    split: str
    where: str = field(default="", compare=False)


class LabelledTask(Task):
    """Accuracy on the texts of the split `test`, or `validation` where there is none, by probe and by fine-tuning.

    Of a linear probe on frozen states `accuracy` and `control_accuracy`, as in `LinearProbes`. Of fine-tuning
    `accuracy`, the mean over three seeds, and `accuracy_seed_deviation`, their standard deviation; its reading says
    which state tells the label, for example "fine_tuned_first_token". The learning rate is chosen on the split
    `validation`, or on a tenth of the training texts where there is none or it is tested on.

    Args:
        name: of the task.
        texts: of all splits.
    """

    needs_scikit_learn = True

    def __init__(self, name: str, texts: Sequence[LabelledText]) -> None:
        self.name, self.texts = name, list(texts)
        splits = {text.split for text in self.texts}
        found = ", ".join(sorted(splits)) or "none"
        expect(not splits.isdisjoint(_TESTED), f"items of the split test or validation in {name}", found, "add some")
        known = {text.label for text in self.texts if text.split == "train"}
        labels = f"{', '.join(sorted(known)[:3]) or 'none'} alone"
        expect(
            len(known) > 1, f"items of two labels or more to train on in {name}", labels, "add some of the split train"
        )
        tested = next(split for split in _TESTED if split in splits)
        strange = sorted({text.label for text in self.texts if text.split == tested} - known)
        mend = "check the labels' spelling, or train on them"
        expect(not strange, f"labels of the split {tested} that train has in {name}", ", ".join(strange[:3]), mend)

    def run(self, session: Session) -> list[Result]:
        probes, texts = LinearProbes(session), self._parts(session)
        items = [ProbeItem(t.text, t.text_b, t.label, t.split == "test") for t in texts if t.split != "validation"]
        problem = problem_of(items)
        if problem is not None:
            session.notes.append(f"{self.name}: linear probe left out: {problem}")
        return [*(probes.run(self.name, items) if problem is None else []), *self._fine_tuned(session, texts)]

    def _parts(self, session: Session) -> list[LabelledText]:
        """At most `session.items` texts of each split, where the split that is tested on is called test."""
        of = {split: [text for text in self.texts if text.split == split] for split in ("train", "validation", "test")}
        if not of["test"]:
            of["test"], of["validation"] = [replace(text, split="test") for text in of["validation"]], []
        most = session.items or len(self.texts)
        of = {split: sorted(texts, key=_key(session.seed))[:most] for split, texts in of.items()}
        if not of["validation"]:
            tenth = max(len(of["train"]) // 10, 1)  # in the order of their keys
            of["validation"] = [replace(text, split="validation") for text in of["train"][:tenth]]
            of["train"] = of["train"][tenth:]
        labels = {text.label for text in of["train"]}
        expected = f"items of two labels or more to train on in {self.name}"
        expect(len(labels) > 1, expected, f"{len(of['train'])} of {', '.join(sorted(labels))}", "raise --items")
        trained = {(text.text, text.text_b) for text in of["train"]}
        twice = sum((text.text, text.text_b) in trained for text in of["test"])
        if twice:
            session.notes.append(f"{self.name}: {twice} of {len(of['test'])} tested texts are trained on too")
        return [text for texts in of.values() for text in texts]

    def _fine_tuned(self, session: Session, texts: Sequence[LabelledText]) -> list[Result]:
        model, reading = session.model, label_reading(session.model)
        names = sorted({text.label for text in texts})
        labels = np.array([names.index(text.label) for text in texts])
        part = {split: np.flatnonzero([t.split == split for t in texts]) for split in ("train", "validation", "test")}
        framed = frame_texts(model, [(text.text, text.text_b) for text in texts], reading.prefix)
        data = LabelledData(framed, names, labels, **part)

        def make() -> Arrays:
            total = (len(RATES) + SEEDS - 1) * data.steps
            with progress_bar(f"{self.name} fine-tuned", "steps", total) as advance:
                tuned = fine_tune(model, reading, data, session.seed, session.batch_tokens, advance)
            rates = {"rates": np.array([*tuned.validation]), "validation": np.array([*tuned.validation.values()])}
            return {"correct": tuned.correct, "rate": np.array(tuned.rate), **rates}

        digest = hashlib.sha256(json.dumps([(t.text, t.text_b, t.label, t.split) for t in texts]).encode()).hexdigest()
        arrays, path = session.store.get(f"fine-tuned\n{reading.pooling}\n{session.seed}\n{digest}", make)
        correct, cut = arrays["correct"].astype(np.float64), int(framed.truncated[part["test"]].sum())
        way = FINE_TUNED[reading.pooling]
        test = np.isin(np.arange(len(texts)), part["test"])
        mean = accuracy_result(self.name, way, "accuracy", correct.mean(0), labels, test, cut, path)
        deviation = float(correct.mean(1).std(ddof=1))
        return [mean, Result(self.name, way, "accuracy_seed_deviation", deviation, len(correct), items=path)]


def _key(seed: int) -> Callable[[LabelledText], int]:
    """Orders texts by numbers that depend on each alone."""
    return lambda text: int(derive_seed("labelled", seed, text.text, text.text_b or "", text.label))
