"""Held-out numbers: nats as `validate` has them, bits per byte by hand, calibration by closed forms."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassCalibrationError

from lm_objectives.evaluation.model import EvaluatedModel, from_checkpoint
from lm_objectives.evaluation.store import ItemStore
from lm_objectives.evaluation.tasks.base import Session
from lm_objectives.evaluation.tasks.held_out import HeldOut, calibration_error, find_temperature, predict


@pytest.fixture(scope="module")
def model(tiny_run: Path) -> EvaluatedModel:
    return from_checkpoint(str(tiny_run))


@pytest.fixture(scope="module")
def numbers(model: EvaluatedModel) -> dict[tuple[str, str], float]:
    session = Session(model, model.readings, 0, 0, 4096, "32-true", ItemStore(None, ""), [])
    return {(r.reading, r.metric): r.value for r in HeldOut().run(session)}


def test_each_reading_has_its_own_numbers_and_no_other(numbers: dict[tuple[str, str], float]) -> None:
    tokens = {"nats", "accuracy", "bits_per_byte", "entropy", "calibration_error", "temperature"}
    assert {reading: {m for r, m in numbers if r == reading} for reading, _ in numbers} == {
        "causal": tokens,
        "masked:masked": tokens,
        "masked:ahead": tokens,
        "generator": tokens,
        "order": {"nats", "accuracy"},
        "detector": {"nats", "accuracy", "auc", "f1"},
    }


def test_causal_nats_are_the_mean_over_the_text_by_the_objectives_own_loss(
    model: EvaluatedModel, numbers: dict[tuple[str, str], float]
) -> None:
    assert model.cache is not None
    text, module = model.cache.validation, model.module
    total = count = 0.0
    corruption = module.sources["causal"].corruption
    windows = corruption.windows(text, model.seq_len, module.backbone.supports_packing)
    for number in range(len(windows)):  # in the text's own order
        keys = np.zeros(1, dtype=np.uint64)
        rows = corruption.read_rows(text, windows[np.array([number])], keys, model.seq_len, model.vocabulary)
        view = corruption.corrupt(rows, model.vocabulary)
        with torch.no_grad():
            output = module.forward_views({"causal": view})["causal"]
        total, count = total + float(output.loss_sums["loss"]), count + view.counts["loss"]
    assert numbers["causal", "nats"] == pytest.approx(total / count, abs=1e-5)
    nats = numbers["causal", "nats"]
    tokens = len(text.tokens) - (len(text.documents) - 1)
    size = model.cache.statistics.validation_bytes
    assert numbers["causal", "bits_per_byte"] == pytest.approx(nats * tokens / size / math.log(2))


def test_predictions_are_those_of_the_whole_distribution() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(50, 7, dtype=torch.double), torch.randint(7, (50,))
    found = predict((logits, torch.eye(7, dtype=torch.double), None), targets, torch.arange(50))
    spread = torch.distributions.Categorical(logits=logits)
    np.testing.assert_allclose(found.nats, -spread.log_prob(targets), atol=1e-6)
    np.testing.assert_allclose(found.entropy, spread.entropy(), atol=1e-6)
    np.testing.assert_allclose(found.confidence, spread.probs.max(1).values, atol=1e-6)
    assert found.correct.tolist() == (spread.probs.argmax(1) == targets).double().tolist()


def test_the_calibration_error_is_torchmetrics() -> None:
    torch.manual_seed(0)
    logits, targets = 2 * torch.randn(500, 5), torch.randint(5, (500,))
    found = predict((logits, torch.eye(5), None), targets, torch.arange(500))
    expected = MulticlassCalibrationError(5, n_bins=15, norm="l1")(logits.softmax(1), targets)
    assert calibration_error(found.confidence, found.correct) == pytest.approx(float(expected), abs=1e-6)


def test_the_temperature_that_logits_were_multiplied_by_is_found() -> None:
    torch.manual_seed(0)
    logits = torch.randn(20_000, 8)
    targets = torch.distributions.Categorical(logits=logits).sample()
    for factor in (0.5, 1.0, 3.0):
        head = (factor * logits, torch.eye(8), None)
        assert find_temperature(head, targets) == pytest.approx(factor, rel=0.03)  # 3 sd of the sampling
