"""The published codes' ways to mask spans, written anew, and the table of docs/objectives/masked_lm.md.

    PYTHONPATH=. python tests/utils/published_masking.py

Each takes rows of one length whose units are words of one token, and gives the share of rows in which each is masked.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import ceil
from random import Random

import numpy as np

from lm_objectives.corruptions.random import derive_seed, row_keys
from lm_objectives.corruptions.sampling import sample_spans
from lm_objectives.corruptions.span_lengths import Geometric, NGram, Poisson, SpanLengths, Uniform

UNITS = 128


def spanbert(rows: int) -> np.ndarray:
    """facebookresearch/SpanBERT, pretraining/fairseq/data/masking.py: PairWithSpanMaskingScheme.

    A span starts at a random word that is not masked yet and goes on over masked ones; the row's end and the budget of
    the ceiling of 15 % cut it.
    """
    random, budget, counts = Random(0), ceil(0.15 * UNITS), np.zeros(UNITS)
    chances = [0.2 * 0.8**n for n in range(10)]
    for _ in range(rows):
        masked: set[int] = set()
        while len(masked) < budget:
            length, start = random.choices(range(1, 11), chances)[0], random.randrange(UNITS)
            if start in masked:
                continue
            for unit in range(start, min(start + length, UNITS)):
                if len(masked) < budget:
                    masked.add(unit)
        counts[list(masked)] += 1
    return counts / rows


def gpt_bert(rows: int) -> np.ndarray:
    """ltgoslo/gpt-bert, dataset.py: SpanMaskingStrategy and apply_mask.

    The row is cut into spans of 1 to 3 from its start, each with a random number; the spans that hold 15 % of the
    tokens, rounded by chance, are masked whole, those with the least numbers.
    """
    random, counts = Random(0), np.zeros(UNITS)
    for _ in range(rows):
        wanted, ends = max(1, int(0.15 * UNITS + random.random())), [0]
        while ends[-1] < UNITS:
            ends.append(min(ends[-1] + random.randint(1, 3), UNITS))
        spans = [(random.random(), start, end) for start, end in pairwise(ends)]
        held = 0
        for _, start, end in sorted(spans):
            if held >= wanted:
                break
            counts[start:end] += 1
            held += end - start
    return counts / rows


def albert(rows: int) -> np.ndarray:
    """google-research/albert, create_pretraining_data.py: create_masked_lm_predictions.

    Words in random order start an n-gram that fits the row, shortened to the budget of 15 % of all tokens, three
    special ones among them, and left out where one of its words is masked.
    """
    random, budget, counts = Random(0), round(0.15 * (UNITS + 3)), np.zeros(UNITS)
    reach = list(accumulate(1 / n for n in range(1, 4)))
    for _ in range(rows):
        masked: set[int] = set()
        for start in random.sample(range(UNITS), UNITS):
            if len(masked) >= budget:
                break
            longest = min(3, UNITS - start)
            length = random.choices(range(1, longest + 1), cum_weights=reach[:longest])[0]
            ngram = range(start, start + min(length, budget - len(masked)))
            if masked.isdisjoint(ngram):
                masked.update(ngram)
        counts[list(masked)] += 1
    return counts / rows


def bart(rows: int, budget: int = 43) -> np.ndarray:
    """facebookresearch/fairseq, fairseq/data/denoising_dataset.py: add_whole_word_mask.

    Spans whose lengths add up to the budget start at different random words, go into one another, and are cut by the
    row's end, so that a budget of 30 % masks 27 % of the words. It is asked for 43 of 128, which mask 38 on average.
    """
    random, counts = Random(0), np.zeros(UNITS)
    chances = Poisson(3.0).probabilities().tolist()
    for _ in range(rows):
        lengths: list[int] = []
        while sum(lengths) < budget:
            lengths += random.choices(range(len(chances)), chances)
        lengths[-1] -= sum(lengths) - budget
        lengths = [length for length in lengths if length]
        masked: set[int] = set()
        for start, length in zip(random.sample(range(UNITS), len(lengths)), lengths, strict=True):
            masked.update(range(start, min(start + length, UNITS)))
        counts[list(masked)] += 1
    return counts / rows


@dataclass(frozen=True)
class Case:
    """A published way to mask, and the setting that does the same here."""

    name: str
    published: Callable[[int], np.ndarray]
    rate: float
    lengths: SpanLengths
    least: int = 1

    def here(self, rows: int) -> np.ndarray:
        """The share of rows in which each unit is masked."""
        counts, wanted = np.zeros(UNITS), round(self.rate * UNITS)
        for first in range(0, rows, 5000):
            keys = row_keys(derive_seed("published"), np.arange(first, first + 5000))
            spans = sample_spans(keys, np.full(5000, UNITS), np.full(5000, wanted), self.lengths, self.least)
            covered = np.bincount(spans.units, minlength=5000 * UNITS).reshape(5000, UNITS)
            assert covered.max() == 1 and (covered.sum(axis=1) == wanted).all()
            counts += covered.sum(axis=0)
        return counts / rows


CASES = [
    Case("SpanBERT", spanbert, 0.15, Geometric()),
    Case("GPT-BERT", gpt_bert, 0.15, Uniform()),
    Case("ALBERT", albert, 0.15, NGram()),
    Case("BART", bart, 0.3, Poisson(), least=0),
]


def places(shares: np.ndarray) -> Sequence[float]:
    """The shares of the first and second unit, of the middle half, and of the last unit."""
    return [shares[0], shares[1], shares[32:96].mean(), shares[-1]]


def main() -> None:
    """Print the table."""
    print("| | `lengths` | | first | second | middle | last |\n|---|---|---|---|---|---|---|")
    for case in CASES:
        for name, shares in (("published", case.published(100_000)), ("here", case.here(100_000))):
            figures = " | ".join(f"{share:.3f}" for share in places(shares))
            print(f"| {case.name} | `{type(case.lengths).__name__}` | {name} | {figures} |")
    shares = bart(100_000, ceil(0.3 * UNITS))
    figures = " | ".join(f"{share:.3f}" for share in places(shares))
    print(f"\nBART's code asked for 30 %, which masks {shares.mean():.1%}: | {figures} |")


if __name__ == "__main__":
    main()
