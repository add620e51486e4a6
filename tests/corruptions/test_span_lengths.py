"""Lengths of spans against the published formulas."""

import math
import pickle
from typing import ClassVar

import numpy as np
import pytest
from utils.corruption_cases import keys

from lm_objectives.corruptions.random import random_bits
from lm_objectives.corruptions.sampling import sample_spans
from lm_objectives.corruptions.span_lengths import Geometric, NGram, Poisson, SpanLengths, Uniform, sample_lengths
from lm_objectives.plugin import from_config, to_config

LEAVES: list[SpanLengths] = [Geometric(), Geometric(0.5, 4), Poisson(), Poisson(0.3), Uniform(), Uniform(2, 5), NGram()]
each = pytest.mark.parametrize("lengths", LEAVES, ids=lambda lengths: type(lengths).__name__)


def test_are_the_formulas() -> None:
    """Oracle: SpanBERT's mean of 3.8 units, the Poisson probabilities by factorials, ALBERT's 6/11, 3/11, 2/11."""
    assert Geometric().probabilities() @ np.arange(11) == pytest.approx(3.8, abs=0.01)
    assert Geometric(0.25, 3).probabilities() == pytest.approx(np.array([0, 16, 12, 9]) / 37)
    poisson = Poisson(3.0).probabilities()
    assert poisson[:9] == pytest.approx([math.exp(-3) * 3**n / math.factorial(n) for n in range(9)])
    assert Uniform(1, 3).probabilities() == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3])
    assert NGram(3).probabilities() == pytest.approx([0, 6 / 11, 3 / 11, 2 / 11])


@pytest.mark.parametrize("mean", [0.01, 3.0, 300.0])
def test_what_poisson_leaves_out_is_nothing(mean: float) -> None:
    """Oracle: the mean of all lengths."""
    chances = Poisson(mean).probabilities()
    assert chances.sum() == pytest.approx(1)
    assert chances @ np.arange(len(chances)) == pytest.approx(mean, rel=1e-9)


@each
@pytest.mark.parametrize("least", [0, 1])
def test_draws_follow_the_chances(lengths: SpanLengths, least: int) -> None:
    """Oracle: chances of lengths from `least` on; a count of n draws has √(np(1-p)) of spread, 4.5 of it allowed."""
    n = 200_000
    found = np.bincount(sample_lengths(lengths, random_bits(keys(200)[:, None], 9, np.arange(1000)), least).ravel())
    chances = lengths.probabilities()
    chances[:least] = 0
    chances /= chances.sum()
    assert len(found) <= len(chances)
    found = np.pad(found, (0, len(chances) - len(found)))
    assert (np.abs(found - n * chances) <= 4.5 * np.sqrt(n * chances * (1 - chances)) + 1e-9).all()


@each
def test_is_plain_data(lengths: SpanLengths) -> None:
    for copy in (pickle.loads(pickle.dumps(lengths)), from_config(to_config(lengths))):
        assert type(copy) is type(lengths) and copy == lengths and hash(copy) == hash(lengths)


def test_lengths_that_do_not_fit_are_not_drawn() -> None:
    """Oracle: of 1 and 2 units alone ALBERT's chances are 2/3 and 1/3, to 0.01 over 40,000 draws."""
    bits = random_bits(keys(200)[:, None], 9, np.arange(200))
    found = np.bincount(sample_lengths(NGram(), bits, 1, np.full(bits.shape, 2)).ravel(), minlength=4)
    assert found / bits.size == pytest.approx([0, 2 / 3, 1 / 3, 0], abs=0.01)
    assert (sample_lengths(Uniform(2, 3), bits, 1, np.full(bits.shape, 1)) == 1).all()
    assert (sample_lengths(NGram(), bits, 1, np.zeros(bits.shape, dtype=np.int64)) == 0).all()


def test_equal_ones_have_the_same_class_and_settings() -> None:
    assert NGram(2) == NGram(2) != NGram(3)
    assert NGram(1) != Uniform(1, 1) and Poisson() != "Poisson"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Geometric(0.0), r"^expected p above 0 and at most 1 for Geometric, found 0\.0: 0\.2 is SpanBERT's$"),
        (lambda: Geometric(longest=0), r"^expected longest from 1 to 1000 for Geometric, found 0: 10 is as published$"),
        (lambda: Poisson(0.0), r"^expected a mean above 0 and at most 1000 for Poisson, found 0\.0: 3\.0 is BART's$"),
        (lambda: Uniform(3, 2), r"^expected shortest .* at most longest, .* for Uniform, found 3 and 2: GPT-BERT's"),
        (lambda: NGram(0), r"^expected longest from 1 to 1000 for NGram, found 0: 3 is as published$"),
    ],
)
def test_lengths_that_cannot_be_are_one_clear_line(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


class Empty(SpanLengths):
    """Spans of no units alone."""

    def probabilities(self) -> np.ndarray:
        return np.array([1.0])


def test_spans_of_no_units_alone_are_one_clear_line() -> None:
    with pytest.raises(ValueError, match=r"^expected spans of at least 1 units from Empty, found none with a chance:"):
        sample_spans(np.zeros(1, np.uint64), np.array([5]), np.array([2]), Empty())


class Counted(NGram):
    """Counts how often its chances are asked for."""

    calls: ClassVar[int] = 0

    def probabilities(self) -> np.ndarray:
        Counted.calls += 1
        return super().probabilities()


def test_chances_are_not_computed_for_each_batch() -> None:
    """Oracle: a count of the calls, the same after ten batches, each of new but equal lengths, as after one."""
    calls = []
    for _ in range(10):
        sample_spans(keys(4), np.full(4, 20), np.full(4, 5), Counted(3))
        calls.append(Counted.calls)
    assert 0 < calls[0] == calls[-1]
