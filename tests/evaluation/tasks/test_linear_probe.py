"""Linear probes on labels that are in the states, and on labels that are not."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from utils.evaluated_models import evaluated, session_of

from lm_objectives.evaluation.model import EvaluatedModel, untrained_backbone
from lm_objectives.evaluation.tasks.frozen_states import frame_texts, mean_states, prefix_for
from lm_objectives.evaluation.tasks.linear_probe import (
    LinearProbes,
    ProbeItem,
    correct_of_probe,
    layer_readings,
    problem_of,
)
from lm_objectives.objectives import MaskedLM


def test_a_label_in_the_states_is_found_and_a_random_one_is_not() -> None:
    """Oracle: the label is the sign of a coordinate, or a coin's; four standard errors of 200 tosses are 14 %."""
    draw = np.random.default_rng(0)
    states, test = draw.normal(size=(600, 20)) * 10.0 ** draw.integers(-3, 4, 20), np.arange(600) >= 400
    assert correct_of_probe(states, np.where(states[:, 3] > 0, "up", "down"), test, 0).mean() > 0.95
    assert abs(correct_of_probe(states, draw.choice(["a", "b"], 600), test, 0).mean() - 0.5) < 0.14


def test_the_probe_is_a_regression_on_standardised_states() -> None:
    """Oracle: scikit-learn's own regression with each C; the probe's answers are those of one of them."""
    draw = np.random.default_rng(1)
    states, test = draw.normal(size=(300, 8)), np.arange(300) >= 200
    labels = np.where(states[:, 0] + draw.normal(size=300) > 0, "up", "down")
    scaler = StandardScaler().fit(states[~test])
    alone = []
    for c in (1e-4, 1e-3, 1e-2, 1e-1, 1.0):
        regression = LogisticRegression(C=c, tol=1e-3, max_iter=200).fit(scaler.transform(states[~test]), labels[~test])
        alone.append((regression.predict(scaler.transform(states[test])) == labels[test]).tolist())
    assert correct_of_probe(states, labels, test, 0).astype(bool).tolist() in alone


def items(count: int = 120) -> list[ProbeItem]:
    """Texts that begin with one of two words, which is the label."""
    draw = np.random.default_rng(2)
    made = []
    for number in range(count):
        label = ("dog", "sea")[number % 2]
        rest = " ".join(draw.choice(["cat", "bird", "hill", "home"], 4))
        made.append(ProbeItem(f"The {label} {rest}.", None, label, number >= 0.7 * count))
    return made


def test_results_are_those_of_the_states(llama: EvaluatedModel) -> None:
    """Oracle: `correct_of_probe` on the states of the model, and of an untrained backbone made apart."""
    made = items()
    results = LinearProbes(session_of(llama)).run("words", made)
    expected = [(f"{a}_layer_{n}", m) for a in ("causal", "bidirectional") for n in (1, 2) for m in METRICS]
    assert [(result.reading, result.metric) for result in results] == expected
    assert layer_readings(llama.module.backbone.config) == [reading for reading, _ in expected[::2]]
    labels, test = np.array([item.label for item in made]), np.array([item.test for item in made])
    texts = frame_texts(llama, [(item.text, None) for item in made], prefix_for(llama, "causal"))
    for metric, backbone in zip(METRICS, (llama.module.backbone, untrained_backbone(llama, 0)), strict=True):
        states = mean_states(backbone, texts, "causal", session_of(llama), "test")[2]
        value = correct_of_probe(states, labels, test, 0).mean()
        [found] = [r for r in results if (r.reading, r.metric) == ("causal_layer_2", metric)]
        assert found.value == pytest.approx(value) and found.value > 0.9
        assert found.n == 36 and found.chance == 0.5
        assert found.item_se == pytest.approx(np.sqrt(value * (1 - value) / 36))


METRICS = ("accuracy", "control_accuracy")


def test_a_seed_gives_the_same_results(shallow: EvaluatedModel) -> None:
    """Oracle: a second run, with a control of its own."""
    assert LinearProbes(session_of(shallow)).run("words", items()) == LinearProbes(session_of(shallow)).run(
        "words", items()
    )


def test_a_second_session_reads_what_the_first_kept(shallow: EvaluatedModel, sentences: Path, tmp_path: Path) -> None:
    """Oracle: a model with other weights has the first one's results, since they lie under the same basis."""
    first = LinearProbes(session_of(shallow, store=tmp_path)).run("words", items())
    assert len([*tmp_path.iterdir()]) == 1 and first[0].items == f"{tmp_path.name}/{next(tmp_path.iterdir()).name}"
    other = evaluated(sentences, "bert", {"masked": MaskedLM()}, seed=3, num_hidden_layers=1)
    assert LinearProbes(session_of(other, store=tmp_path)).run("words", items()) == first


def test_the_control_has_the_same_architecture_and_other_weights(llama: EvaluatedModel) -> None:
    """Oracle: names and shapes of all parameters, and their values."""
    trained = dict(llama.module.backbone.named_parameters())
    control = dict(untrained_backbone(llama, 0).named_parameters())
    assert {n: p.shape for n, p in control.items()} == {n: p.shape for n, p in trained.items()}
    drawn = [name for name, parameter in trained.items() if parameter.ndim > 1]
    assert all(not control[name].equal(trained[name]) for name in drawn)


def test_what_cannot_be_probed_is_said() -> None:
    """Oracle: by hand; five folds want five items of each of two labels, and some to test on."""
    one = [ProbeItem("a", None, "x", test) for test in [False] * 9 + [True] * 9]
    few = one + [ProbeItem("a", None, "y", False)] * 4
    enough = [*few, ProbeItem("a", None, "y", False)]
    assert problem_of(one) == problem_of(few) == "1 label with 5 training items or more, of 2 at least"
    assert problem_of([]) == "0 labels with 5 training items or more, of 2 at least"
    assert problem_of(enough) is None
    assert problem_of([i for i in enough if not i.test] + one[-4:]) == "4 items to test on, of 5 at least"
