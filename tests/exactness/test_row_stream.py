"""What each optimizer step reads is the same to the last token, however the run is carried out.

Rows are taken where the module gets them, in real trainings. The oracle is the plainest run: one process, no workers,
one micro-batch a step.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from utils.exactness_pair import Pair
from utils.exactness_rows import row_digests
from utils.exactness_runs import ROWS, WINDOW, Run, State, make_data, make_module, train

from lm_objectives.data.dataset import Batch
from lm_objectives.data.plan import ACTIVITY_DELAY
from lm_objectives.views import View

STEPS = 12  # two bookkeeping epochs
SETTINGS = {
    "packed": Run(steps=STEPS),
    "one document a row": Run(data="one document a row", steps=STEPS),
    "ramps": Run(objectives="ramps", data="growing window", steps=STEPS),
    "two corpora": Run(data="two corpora", steps=STEPS),
    "shared view": Run(objectives="shared", steps=STEPS),
    "written": Run("Equal", "written", "bart", steps=STEPS),
    "by difficulty": Run("ByDifficulty", steps=ACTIVITY_DELAY + 6),
}
QUICK = {"ramps", "by difficulty"}
STOPS = (
    4,
    ACTIVITY_DELAY + 2,
)  # in the middle of an epoch; before and after what ByDifficulty decides at the first step

Way = tuple[int, int, int]  # workers, ranks, micro-batches of a step
ALL: Way = (3, 2, 2)  # for each setting
EACH: list[Way] = [(3, 1, 2), (1, 2, 1)]  # for the quick ones
WAYS: list[Way] = [*EACH, (0, 2, 2), (1, 1, 1), ALL]  # for the first: each choice alone, and all together
ON: tuple[int, Way] = (2, (1, 2, 2))
QUICK_ON: tuple[int, Way] = (1, (3, 1, 2))


def case(quick: bool, name: str, *how: Any) -> Any:
    return pytest.param(name, *how, id=" ".join(map(str, (name, *how))), marks=[] if quick else [pytest.mark.slow])


def steps_read(*ranks: State) -> dict[int, list[bytes]]:
    """What each step has read, over all ranks, in the order of digests."""
    return {step: sorted(digest for rank in ranks for digest in rank.rows[step]) for step in ranks[0].rows}


def carry_out(run: Run, way: Way, folder: Path, pair: Pair, resume: Path | None = None) -> dict[int, list[bytes]]:
    """Train in one of the ways; returns what each step has read."""
    workers, ranks, accumulate = way
    run = replace(run, workers=workers, accumulate=accumulate)
    return steps_read(*([train(run, folder, resume=resume)] if ranks == 1 else pair.run(run, resume)))


@pytest.mark.parametrize(
    ("name", "way"),
    [
        case(name in QUICK, name, way)
        for name in SETTINGS
        for way in (WAYS if name == "packed" else EACH if name in QUICK else [ALL])
    ],
)
def test_every_way_reads_the_same_rows_in_each_step(
    name: str, way: Way, folder: Path, alone: Callable[[Run], State], pair: Pair
) -> None:
    run = SETTINGS[name]
    assert carry_out(run, way, folder, pair) == steps_read(alone(run))


@pytest.fixture(scope="module")
def kept(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Run], Path]:
    """The folder with the checkpoints that a run leaves after each step."""

    @cache
    def get(run: Run) -> Path:
        place = tmp_path_factory.mktemp("row stream")
        train(run, folder, callbacks=[ModelCheckpoint(place, "{step}", save_top_k=-1, every_n_train_steps=1)])
        return place

    return get


@pytest.mark.parametrize(
    ("name", "before", "way"),
    [
        *(case(False, name, *ON) for name in SETTINGS if name != "by difficulty"),
        *(case(True, name, *QUICK_ON) for name in SETTINGS if name in QUICK),
    ],
)
def test_a_resumed_run_reads_what_was_left(
    name: str,
    before: int,
    way: Way,
    folder: Path,
    alone: Callable[[Run], State],
    kept: Callable[[Run], Path],
    pair: Pair,
) -> None:
    run = SETTINGS[name]
    whole, place = steps_read(alone(run)), kept(replace(run, accumulate=before))
    for stop in STOPS:
        if stop < run.steps:
            left = {step: rows for step, rows in whole.items() if step >= stop}
            assert carry_out(run, way, folder, pair, place / f"step={stop}.ckpt") == left


@pytest.mark.parametrize("name", SETTINGS)
def test_the_steps_have_rows_to_tell_apart(name: str, alone: Callable[[Run], State]) -> None:
    run = SETTINGS[name]
    read = steps_read(alone(run))
    digests = [digest for step in read.values() for digest in step]
    assert list(read) == list(range(run.steps)) and len(set(digests)) > 0.9 * len(digests) >= 0.9 * ROWS * run.steps


def test_what_the_curriculum_reads_depended_on_losses(folder: Path, alone: Callable[[Run], State]) -> None:
    """Oracle: the log of decisions, of which the run's own first one reaches the rows LAG steps later."""
    run = SETTINGS["by difficulty"]
    log = alone(run).activity
    assert [step for step, _ in log][:2] == [0, 1 + ACTIVITY_DELAY] and set(log[0][1]) < set(log[1][1])


FIELDS = (
    "input_ids",
    "lengths",
    "position_ids",
    "prefix_lengths",
    "decoder_labels",
    "token_type_ids",
    "label_positions",
    "targets",
    "sampling_noise",
    "totals",
)


@pytest.mark.parametrize("field", FIELDS)
def test_a_digest_sees_all_that_is_read(field: str) -> None:
    """Oracle: the last number changed, which is the second row's; counts are both rows'."""

    def digests(changed: str | None) -> list[bytes]:
        tensors = {
            "input_ids": torch.tensor([[5, 6, 7], [8, 9, 4]]),
            "lengths": torch.tensor([2, 2]),
            "position_ids": torch.tensor([[0, 1, 2], [0, 0, 1]]),
            "prefix_lengths": torch.tensor([1, 2]),
            "decoder_labels": torch.tensor([[3, 4, 5], [6, 7, 8]]),
            "token_type_ids": torch.tensor([[0, 0, 1], [0, 1, 1]]),
            "label_positions": torch.tensor([0, 2, 3]),
            "targets": torch.tensor([7, 8, 9]),
            "sampling_noise": torch.tensor([0.25, 0.5, 0.75], dtype=torch.double),
        }
        if changed in tensors:
            tensors[changed].view(-1)[-1] += 1
        view = View(**tensors, attention="prefix", counts={"loss": 3}, padded=True)
        return row_digests(Batch({"masked": view}, 4, {"masked": {"loss": 4 if changed == "totals" else 3}}))

    same = [a == b for a, b in zip(digests(None), digests(field), strict=True)]
    assert same == [field != "totals", False]


# Every window once an epoch, over a training.


class Texts(Callback):
    """Keeps the text of each row as it was before it was corrupted, by objective, in the order of reading."""

    def __init__(self) -> None:
        self.read: dict[str, list[tuple[int, ...]]] = {}

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Batch, *_: Any) -> None:
        for name, view in batch.views.items():
            ids = view.input_ids.clone()
            if name == "masked":
                ids.view(-1)[view.label_positions] = view.targets
            rows = (tuple(row[:length]) for row, length in zip(ids.tolist(), view.lengths.tolist(), strict=True))
            self.read.setdefault(name, []).extend(rows)


@pytest.mark.parametrize("data", ["packed", "one document a row"])
def test_each_objective_reads_every_window_once_an_epoch(data: str, folder: Path) -> None:
    """Oracle: the training text cut by a loop. The shares differ, and so do the epochs' ends, within steps too."""
    run, texts = Run("Equal", "two shares", data=data, steps=40), Texts()
    train(run, folder, callbacks=[texts])
    module, reader = make_module(run), make_data(run, folder)
    reader.open(module.sources)
    text = reader.text.training
    bounds = [0, len(text.tokens)] if data == "packed" else text.documents.tolist()
    windows = Counter(
        tuple(text.tokens[start : min(start + WINDOW, stop)].tolist())
        for first, stop in pairwise(bounds)
        for start in range(first, stop, WINDOW)
        if stop - start > 1
    )
    epochs = {name: len(rows) // windows.total() for name, rows in texts.read.items()}
    assert epochs["causal"] > epochs["masked"] >= 1
    for name, rows in texts.read.items():
        for epoch in range(epochs[name]):
            assert Counter(rows[epoch * windows.total() : (epoch + 1) * windows.total()]) == windows, (name, epoch)
