"""Errors of means whose values go together, against the spread of many such means."""

import numpy as np
import pytest

from lm_objectives.evaluation.tasks.errors_of_means import batch_error, row_error


def test_the_error_of_a_mean_is_that_of_its_rows() -> None:
    rng = np.random.default_rng(0)
    means = []
    errors = []
    for _ in range(400):  # rows of other lengths, whose values go together
        row = np.repeat(np.arange(60), rng.integers(1, 9, 60))
        values = rng.normal(size=60)[row] + rng.normal(size=len(row))
        means.append(values.mean())
        errors.append(row_error(values, row))
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.1)
    assert row_error(np.ones(3), np.zeros(3)) is None


def test_of_batches_it_is_that_of_rows() -> None:
    values, row = np.array([1.0, 2.0, 4.0, 8.0, 5.0]), np.array([0, 0, 1, 1, 1])
    assert batch_error([(3.0, 2), (17.0, 3)]) == pytest.approx(row_error(values, row))
    assert batch_error([(3.0, 2)]) is None
