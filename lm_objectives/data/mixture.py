"""Mix several corpora at rates of their own."""

from collections.abc import Sequence

import numpy as np

from lm_objectives.corruptions.random import derive_seed, permute, row_keys
from lm_objectives.errors import expect
from lm_objectives.ranges import is_within

_BLOCK = 1024  # rows within which the rates hold exactly


def mixing_rates(
    tokens: Sequence[int], weights: Sequence[float] | None, temperature: float | None, cap: int | None
) -> tuple[float, ...] | None:
    """Each corpus's part of the rows, which sum to 1; `None` where no setting asks for other parts than the text has.

        rate_i ∝ weight_i,   or   rate_i ∝ min(n_i, cap)^(1/T)

    The second is T5's temperature mixing (Raffel et al. 2020, section 3.5.2), with n_i in tokens.

    Args:
        tokens: of each corpus's training documents.
        weights: of each corpus, at least 0, one above 0.
        temperature: T, above 0; 1 mixes in proportion to the text, larger ones more evenly.
        cap: tokens above which a corpus counts for no more; none for `None`.

    Raises:
        InputError: when there are not as many weights as corpora, a number is out of range, or a corpus with a weight
            has no training text.
    """
    if weights is None and temperature is None and cap is None:
        return None
    if weights is not None:
        expected = "either data.corpus_weights or data.corpus_temperature with data.corpus_cap"
        expect(temperature is None and cap is None, expected, "both", "leave one out")
        expected = f"data.corpus_weights of at least 0 for each of {len(tokens)} corpora"
        mend = "give data.corpus as a list, with one weight for each"
        finite = all(is_within(weight, 0) for weight in weights)
        expect(len(weights) == len(tokens) and finite and sum(weights) > 0, expected, list(weights), mend)
        empty = [str(n) for n, (weight, own) in enumerate(zip(weights, tokens, strict=True), 1) if weight and not own]
        mend = "give them more documents, paragraphs or lines, or a weight of 0"
        expect(not empty, "training text in each corpus with a weight", f"none in number {', '.join(empty)}", mend)
        parts = np.array(weights, dtype=float)
    else:
        power = 1.0 if temperature is None else temperature
        expected = "a data.corpus_temperature above 0 and a data.corpus_cap of at least 1 token"
        mend = "1 mixes in proportion, larger temperatures more evenly"
        expect(is_within(power, 0) and power > 0 and (cap is None or cap >= 1), expected, f"{power} and {cap}", mend)
        largest = max(tokens)
        with np.errstate(over="ignore"):
            parts = np.minimum(tokens, min(cap or largest, largest)).astype(float) ** np.divide(1, power)
        mend = "raise it: 1 mixes in proportion"
        expect(bool(np.isfinite(parts.sum())), "a data.corpus_temperature that gives finite rates", power, mend)
    return tuple((parts / parts.sum()).tolist())


class Mixture:
    """Deals rows to corpora: of each 1,024 rows a corpus gets its rate, in an order of the block's own.

    A pure function of the row's number, as everything about a row is: no corpus's place depends on the reader.

    Args:
        rates: of the corpora, at least 0; each above 0 gets at least one row of a block.
        key: another one gives another order.
    """

    def __init__(self, rates: Sequence[float], key: int) -> None:
        exact = np.array(rates) / np.sum(rates) * _BLOCK
        counts = np.maximum(np.floor(exact + 1e-9), exact > 0).astype(np.int64)
        for _ in range(max(counts.sum() - _BLOCK, 0)):
            counts[np.argmax(np.where(counts > 1, counts - exact, -np.inf))] -= 1
        counts[np.argsort(counts - exact, kind="stable")[: _BLOCK - counts.sum()]] += 1
        self.counts, self._key = counts, key
        self._ends = np.cumsum(counts)

    def deal(self, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The corpus of each row number `k`, and the number of that corpus's rows before it, each `(rows,)`."""
        block, place = np.divmod(k, _BLOCK)
        for number in np.unique(block):
            own = block == number
            place[own] = permute(place[own], _BLOCK, row_keys(derive_seed(self._key, "mixture"), np.array([number]))[0])
        corpus = np.searchsorted(self._ends, place, side="right")
        before = self._ends[corpus] - self.counts[corpus]
        return corpus, block * self.counts[corpus] + place - before
