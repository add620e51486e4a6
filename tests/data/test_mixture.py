"""Corpora at rates of their own."""

import numpy as np
import pytest

from lm_objectives.data.mixture import Mixture, mixing_rates


def test_rates_of_weights_and_temperatures() -> None:
    """Oracle: Raffel et al. 2020, section 3.5.2: min(n, K)^(1/T), by hand for 100, 10,000 and 1,000,000."""
    tokens = [100, 10_000, 1_000_000]
    assert mixing_rates(tokens, None, None, None) is None
    assert mixing_rates(tokens, [1.0, 2.0, 1.0], None, None) == (0.25, 0.5, 0.25)
    assert mixing_rates(tokens, None, 1.0, None) == pytest.approx([n / 1_010_100 for n in tokens])
    assert mixing_rates(tokens, None, 2.0, None) == pytest.approx([10 / 1110, 100 / 1110, 1000 / 1110])
    assert mixing_rates(tokens, None, 2.0, 10_000) == pytest.approx([10 / 210, 100 / 210, 100 / 210])
    assert mixing_rates(tokens, None, None, 100) == pytest.approx([1 / 3] * 3)


def test_a_corpus_with_a_weight_has_training_text() -> None:
    told = r"^expected training text in each corpus with a weight, found none in number 2, 4: give them more documents,"
    with pytest.raises(ValueError, match=told):
        mixing_rates([100, 0, 0, 0], [1.0, 0.5, 0.0, 2.0], None, None)
    assert mixing_rates([100, 0], [1.0, 0.0], None, None) == (1.0, 0.0)


@pytest.mark.parametrize("rates", [(1.0,), (0.5, 0.5), (0.7, 0.2, 0.1), (0.9999, 0.0001), (0.0, 3.0, 1.0), (1.0,) * 7])
def test_each_block_of_1024_rows_holds_the_rates_and_no_row_of_a_corpus_twice(rates: tuple[float, ...]) -> None:
    corpus, number = Mixture(rates, 0).deal(np.arange(3 * 1024))
    exact = np.array(rates) / sum(rates) * 1024
    for block in range(3):
        counts = np.bincount(corpus[block * 1024 : (block + 1) * 1024], minlength=len(rates))
        assert counts.sum() == 1024 and (abs(counts - exact) < 1).all()
        assert ((counts > 0) == (exact > 0)).all()
    for which in range(len(rates)):
        own = number[corpus == which]
        assert sorted(own.tolist()) == list(range(len(own)))


@pytest.mark.parametrize("rates", [(0.9999, 0.00005, 0.00005), (0.97, *[0.0003] * 100), (0.5, 0.4999, *[1e-6] * 100)])
def test_a_corpus_with_less_than_a_row_of_a_block_gets_one(rates: tuple[float, ...]) -> None:
    """Oracle: one row for each of those, and the rest for the others, by their rates to within a row."""
    counts, exact = Mixture(rates, 0).counts, np.array(rates) * 1024
    small = exact < 1
    assert (counts[small] == 1).all() and counts.sum() == 1024
    surplus = exact[~small] - counts[~small]
    assert surplus.max() - surplus.min() <= 1


def test_a_row_is_dealt_alike_whoever_else_is() -> None:
    mixture = Mixture((0.6, 0.4), 3)
    whole = np.stack(mixture.deal(np.arange(2000, 2100)))
    for k in (2000, 2047, 2048, 2099):
        assert np.stack(mixture.deal(np.array([k])))[:, 0].tolist() == whole[:, k - 2000].tolist()
    assert not np.array_equal(whole[0], Mixture((0.6, 0.4), 4).deal(np.arange(2000, 2100))[0])


@pytest.mark.parametrize(
    ("weights", "temperature", "cap", "message"),
    [
        ([1.0], None, None, r"at least 0 for each of 2 corpora, found \[1.0\]: give data.corpus as a list"),
        ([1.0, -1.0], None, None, r"found \[1.0, -1.0\]"),
        ([0.0, 0.0], None, None, r"found \[0.0, 0.0\]"),
        ([1.0, 1.0], 2.0, None, "found both: leave one out"),
        (None, 0.0, None, "temperature above 0 .* found 0.0 and None: 1 mixes in proportion"),
        (None, None, 0, "at least 1 token, found 1.0 and 0"),
    ],
)
def test_rates_that_cannot_be_are_one_clear_line(
    weights: list[float] | None, temperature: float | None, cap: int | None, message: str
) -> None:
    with pytest.raises(ValueError, match=f"^expected .*{message}") as caught:
        mixing_rates([5, 7], weights, temperature, cap)
    assert "\n" not in str(caught.value)
