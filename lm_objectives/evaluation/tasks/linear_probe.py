"""Linear probes: which labels a logistic regression tells from the frozen states of texts."""

import hashlib
import json
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, replace
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.corruptions.random import derive_seed
from lm_objectives.evaluation.model import untrained_backbone
from lm_objectives.evaluation.results import Result
from lm_objectives.evaluation.store import Arrays
from lm_objectives.evaluation.tasks.base import Session
from lm_objectives.evaluation.tasks.errors_of_means import row_error
from lm_objectives.evaluation.tasks.frozen_states import (
    attentions_of,
    frame_texts,
    mean_states,
    prefix_for,
    read_layers,
)
from lm_objectives.views import Attention

FOLDS = 5
_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # C, the inverse of the regularisation


@dataclass(frozen=True)
class ProbeItem:
    """A text, or a pair, and the label that a probe is to tell.

    Attributes:
        text: the first.
        text_b: the second, `None` where there is one alone.
        label: its name.
        test: whether the probe is tested on it, rather than trained.
        cluster: what it is like other items of; empty where it is independent of them.
    """

    text: str
    text_b: str | None
    label: str
    test: bool
    cluster: str = ""


class LinearProbes:
    """Accuracy of probes on a model's frozen states, next to that of the same probe on fresh weights.

    Results have the reading "<attention>_layer_<number>" for each attention of the family and for its middle and last
    layer. `accuracy` is the model's, `control_accuracy` that of an untrained backbone of the same architecture: what
    the words alone tell, since random layers carry them too (Hewitt and Liang 2019 ask for such a control).

    Args:
        session: whose model is probed.
    """

    def __init__(self, session: Session) -> None:
        self.session = session

    @cached_property
    def _control(self) -> Backbone:
        model = self.session.model
        return untrained_backbone(model, self.session.seed).to(model.module.backbone.embedding.dtype)

    def run(self, task: str, items: Sequence[ProbeItem]) -> list[Result]:
        """The results of one set of items, of which `problem_of` says nothing."""
        attentions, note = attentions_of(self.session.model.module.backbone.config)
        if note and note not in self.session.notes:
            self.session.notes.append(note)
        return [result for attention in attentions for result in self._read(task, items, attention)]

    def _read(self, task: str, items: Sequence[ProbeItem], attention: Attention) -> list[Result]:
        session, model = self.session, self.session.model
        labels, test = np.array([item.label for item in items]), np.array([item.test for item in items])
        clusters = [item.cluster or item.text for item in items if item.test]

        def make() -> Arrays:
            texts = frame_texts(model, [(item.text, item.text_b) for item in items], prefix_for(model, attention))
            kept: dict[str, np.ndarray] = {"truncated": texts.truncated[test]}
            for name, backbone in {"correct": model.module.backbone, "control": self._control}.items():
                what = f"{task} read {attention}{', untrained' * (name == 'control')}"
                states = mean_states(backbone, texts, attention, session, what)
                kept["layers"] = np.array([*states])
                kept[name] = np.stack([correct_of_probe(x, labels, test, session.seed) for x in states.values()])
            return kept

        digest = hashlib.sha256(json.dumps([astuple(item) for item in items]).encode()).hexdigest()
        words = ["probe", attention, str(session.seed), version("scikit-learn"), digest]
        arrays, path = session.store.get("\n".join(words), make)
        results = []
        for number, layer in enumerate(arrays["layers"].tolist()):
            for metric, correct in {"accuracy": arrays["correct"], "control_accuracy": arrays["control"]}.items():
                reading, cut = _reading(attention, layer), int(arrays["truncated"].sum())
                made = accuracy_result(task, reading, metric, correct[number], labels, test, cut, path)
                results.append(replace(made, item_se=clustered_error(correct[number], clusters)))
        return results


def layer_readings(config: Any) -> list[str]:
    """The readings of a backbone of this configuration: each of its attentions in the middle layer and the last."""
    layers = read_layers(config.num_hidden_layers)
    return [_reading(attention, layer) for attention in attentions_of(config)[0] for layer in layers]


def _reading(attention: Attention, layer: int) -> str:
    return f"{attention}_layer_{layer}"


def accuracy_result(
    task: str,
    reading: str,
    metric: str,
    correct: np.ndarray,
    labels: np.ndarray,
    test: np.ndarray,
    truncated: int,
    items: str | None,
) -> Result:
    """The result of so many right answers; its chance is that of always giving the commonest label of the others.

    Args:
        correct: 1 where the answer is right, `(test items,)`, or a mean over seeds.
        labels: of all items, `(items,)`.
        test: whether each is tested on, `(items,)`.
        truncated: items of which an end was cut off.
        items: as in `Result`; so are the rest.
    """
    names, counts = np.unique(labels[~test], return_counts=True)
    chance = float(np.mean(labels[test] == names[counts.argmax()]))
    value, error = float(correct.mean(dtype=np.float64)), clustered_error(correct, range(len(correct)))
    return Result(task, reading, metric, value, len(correct), error, chance, truncated=truncated, items=items)


def clustered_error(correct: np.ndarray, clusters: Iterable[object]) -> float | None:
    """Standard error of the mean of answers that are independent of those of other clusters; `None` of one cluster."""
    _, of = np.unique(np.array([str(cluster) for cluster in clusters]), return_inverse=True)
    return row_error(correct.astype(np.float64), of)


def problem_of(items: Sequence[ProbeItem]) -> str | None:
    """Why a probe cannot be made of these items; `None` where it can.

    >>> problem_of([ProbeItem("It rained.", None, "wet", test) for test in [False] * 9 + [True] * 9])
    '1 label with 5 training items or more, of 2 at least'
    """
    counts = np.unique([item.label for item in items if not item.test], return_counts=True)[1]
    enough, tested = int((counts >= FOLDS).sum()), sum(item.test for item in items)
    if enough < 2:
        return f"{enough} label{'s' * (enough != 1)} with {FOLDS} training items or more, of 2 at least"
    return None if tested >= FOLDS else f"{tested} items to test on, of {FOLDS} at least"


def correct_of_probe(states: np.ndarray, labels: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    """1 for each test item whose label a logistic regression tells, `(test items,)`.

    Features are standardised. The regularisation C has the best accuracy in a 5-fold cross-validation on the training
    items, of which the regression is then fitted on all.

    Args:
        states: `(items, dim)`.
        labels: `(items,)`.
        test: whether each is tested on, `(items,)`.
        seed: cuts the folds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=int(derive_seed("folds", seed) % np.uint64(2**32)))
    probe = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-3, max_iter=200))
    search = GridSearchCV(probe, {"logisticregression__C": _STRENGTHS}, cv=folds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a rare label that some folds lack; and of the last iterations
        search.fit(states[~test], labels[~test])
    return (search.predict(states[test]) == labels[test]).astype(np.float32)
