"""How long a training step waits for its rows.

    python benchmarks/waiting.py

The quickstart's model, objectives and rows (shipped corpus, vocabulary 2,048, width 128, 4 layers, 32 rows of 128
tokens, Muon), trained by Lightning's Trainer, with 0, 1 and 2 workers. Prints the part of a step's time that passes
between asking the loader for a micro-batch and having it.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from loops import backbone, data, fit

from lm_objectives import Pretraining, TextDataModule
from lm_objectives.data.dataset import Batch
from lm_objectives.data.sampler import StepLoader
from lm_objectives.objectives import CausalLM, MaskedLM, ReplacedToken, SentenceOrder
from lm_objectives.optim import Muon


class Over(Exception):
    """Enough steps were seen."""


class Watched(StepLoader):
    """A loader that notes when it is asked, and when it has answered."""

    def __init__(self, inner: StepLoader) -> None:
        self.__dict__.update(vars(inner))
        self.waits: list[float] = []

    def __iter__(self) -> Iterator[Batch]:
        batches = super().__iter__()
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            self.waits.append(time.perf_counter() - asked)
            if batch is None:
                return
            yield batch


class WatchedData(TextDataModule):
    """The data module with a watched loader."""

    def train_dataloader(self) -> StepLoader:
        self.loader = Watched(super().train_dataloader())
        return self.loader


def waiting(workers: int, steps: int) -> float:
    """Median over steps of waiting over the step's whole time."""
    objectives: dict[str, Any] = {
        "causal": CausalLM(),
        "masked": MaskedLM(0.3, predict_from="previous"),
        "order": SentenceOrder(pooling="difference"),
        "replaced": ReplacedToken(discriminator_factor=10.0),
    }
    model = Pretraining(backbone(128, 4, "llama"), objectives, optimizer=lambda groups: Muon(groups, lr=0.02))
    rows = data(32, 128, 2048, WatchedData, num_workers=workers)
    ends: list[float] = []

    def turn(batch: Any) -> None:
        del batch
        ends.append(time.perf_counter())
        if len(ends) > steps:
            raise Over

    with suppress(Over):
        fit(model, rows, turn)
    waits = rows.loader.waits[1 : steps + 1]  # the first one starts the workers
    return statistics.median(wait / (end - start) for wait, start, end in zip(waits, ends, ends[1:], strict=False))


def main() -> None:
    """Print a line for each number of workers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--steps", type=int, default=60)
    arguments = parser.parse_args()
    for workers in (0, 1, 2):
        print(f"{workers} workers: a step waits {100 * waiting(workers, arguments.steps):.2f} % of its time for rows")


if __name__ == "__main__":
    main()
