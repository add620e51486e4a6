"""What workers that are started afresh cost, over forked ones.

    python benchmarks/workers.py

The quickstart's rows (shipped corpus, vocabulary 2,048, 32 rows of 128 tokens, four objectives), made by workers that
are forked from this process, as on Linux before Python 3.14, and by such that are spawned, as on macOS. A pass reads
some micro-batches, as validation does again and again; the first one also starts the workers. The later passes take
turns, and the ratio of their times is printed.
"""

import argparse
import statistics
import time
from itertools import islice

from torch import multiprocessing

from lm_objectives.data.plan import ObjectiveRows
from lm_objectives.data.sampler import StepLoader

_METHODS = ("fork", "spawn")


def seconds(loader: StepLoader, method: str, batches: int) -> float:
    """Time of a pass, whose workers are started in a way where they are not there yet."""
    multiprocessing.set_start_method(method, force=True)
    started = time.perf_counter()
    for _ in islice(loader, batches):
        pass
    return time.perf_counter() - started


def main() -> None:
    """Print the first pass of each, and the ratio of the later ones."""
    from loops import data, four_objectives  # here, or a spawned worker, which runs this file, would import them too

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batches", type=int, default=64, help="of a pass")
    parser.add_argument("--passes", type=int, default=30, help="counted passes of each")
    arguments = parser.parse_args()
    rows = data(32, 128, 2048, num_workers=arguments.workers)
    rows.open({name: ObjectiveRows(objective.corruption) for name, objective in four_objectives().items()})
    loaders = {method: rows.train_dataloader() for method in _METHODS}

    def turn() -> list[float]:
        return [seconds(loader, method, arguments.batches) for method, loader in loaders.items()]

    first, later = dict(zip(_METHODS, turn(), strict=True)), [turn() for _ in range(arguments.passes)]
    for method, spent in zip(_METHODS, zip(*later, strict=True), strict=True):
        print(f"{method:<6} first pass {first[method]:5.2f} s, later ones {statistics.median(spent):5.2f} s")
    lower, middle, upper = statistics.quantiles([spawned / forked for forked, spawned in later], n=4)
    print(f"spawn takes {middle:.2f} x the time of fork (quartiles {lower:.2f} to {upper:.2f})")


if __name__ == "__main__":
    main()
