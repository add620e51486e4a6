"""Run readings over many texts: rows sorted by length, packed into batches of so many tokens."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import numpy as np
import torch

from lm_objectives.corruptions.sampling import concatenated_ranges
from lm_objectives.errors import InputError, expect
from lm_objectives.evaluation.readings.base import RowReading, TextRows
from lm_objectives.evaluation.texts import Texts
from lm_objectives.training.module import Pretraining
from lm_objectives.views import Vocabulary

_CACHED = 768  # tokens of a batch for each thread of a CPU, at most: their states stay in its cache

Precision = Literal["32-true", "64-true", "bf16-mixed", "16-mixed"]


class Scorer:
    """Scores texts with a model.

    A text's score does not depend on the texts beside it, but for the rounding of products of other shapes.

    Args:
        module: the model, in evaluation mode, on its device.
        vocabulary: its token ids, which know where words begin.
        batch_tokens: tokens of a batch, padding included, at most, and no more than 768 for each thread of
            a CPU; one row at least.
        precision: of the products: single, double, or half under autocast. Logits are made single before they are
            normalised, and sums are of double precision.
        advance: is told of each batch how many tokens it had.
        known: scores of the same texts that several readings share, filled here.
    """

    def __init__(
        self,
        module: Pretraining,
        vocabulary: Vocabulary,
        batch_tokens: int = 16384,
        precision: Precision = "32-true",
        advance: Callable[[int], object] = lambda tokens: None,
        known: dict[RowReading, np.ndarray] | None = None,
    ) -> None:
        self.module, self.vocabulary, self.batch_tokens, self.precision = module, vocabulary, batch_tokens, precision
        self.advance, self.known = advance, {} if known is None else known

    def run(self, reading: RowReading, texts: Texts) -> np.ndarray:
        """A score of each scored token by the rows of a reading, in nats, `(scored tokens,)`."""
        if reading not in self.known:
            self.known[reading] = self._run(reading, texts)
        return self.known[reading]

    def _run(self, reading: RowReading, texts: Texts) -> np.ndarray:
        spans = reading.rows(texts, self.vocabulary)
        widths = texts.lengths[spans.text]
        order = np.argsort(widths, kind="stable")
        found = np.full(texts.scored_bounds[-1], np.nan)
        offsets = texts.scored_bounds[:-1] - texts.firsts
        cached = _CACHED * torch.get_num_threads() if self.module.device.type == "cpu" else self.batch_tokens
        for batch in batches(widths[order], min(self.batch_tokens, cached)):
            part = spans[order[batch]]
            ids = texts.padded(part.text, self.vocabulary.pad)
            rows = TextRows(ids, texts.lengths[part.text], part)
            view = reading.view(rows, self.vocabulary).to(self.module.device)
            with torch.inference_mode(), autocast(self.module.device, self.precision):
                values = reading.position_log_probs(self.module, view)
            at = concatenated_ranges(offsets[part.text] + part.starts, rows.counts)
            expected = f"a log-probability for each of {len(at)} scored tokens from {type(reading).__name__}"
            expect(len(values) == len(at), expected, len(values), "return one a label position of the view")
            found[at] = values.cpu().double().numpy()
            self.advance(ids.size)
        expect_finite(found, type(reading).__name__, "texts")
        return found


class NonFiniteScoresError(InputError):
    """A model gives scores that are infinite or NaN."""


def expect_finite(values: np.ndarray, reading: str, task: str) -> None:
    """Raise where a score is infinite or NaN, which a model gives that has diverged, or half precision.

    Raises:
        NonFiniteScoresError: with how many there are.
    """
    count = int(np.count_nonzero(~np.isfinite(values)))
    if count:
        raise NonFiniteScoresError(
            f"expected finite scores from {reading} on {task}, found {count:,} that are not: use --precision 32-true, "
            "or a checkpoint before it diverged"
        )


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """The context that products run in."""
    if not precision.endswith("mixed"):
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16 if precision.startswith("bf16") else torch.float16)


def batches(widths: np.ndarray, most: int) -> Iterator[slice]:
    """Cut rows of ascending widths into batches whose rows times largest width are at most `most`.

    A batch ends where the width changes, if an eighth of it is full by then, so that most have no padding.

    >>> list(batches(np.array([2] * 9 + [3, 3, 20]), 40))
    [slice(0, 9, None), slice(9, 11, None), slice(11, 12, None)]
    """
    start, rows = 0, len(widths)
    while start < rows:
        fitting = np.arange(1, rows - start + 1)[: max(most // max(int(widths[start]), 1), 1)]
        full = int(np.count_nonzero(fitting * widths[start : start + len(fitting)] <= most))
        full = max(full, 1)
        equal = int(np.searchsorted(widths, widths[start], "right")) - start
        size = equal if full / 8 <= equal < full else full
        yield slice(start, start + size)
        start += size
