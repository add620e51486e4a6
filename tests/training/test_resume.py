"""Lightning's counts where a checkpoint was saved; whole runs are resumed in tests/exactness."""

import copy
from typing import Any

import pytest

from lm_objectives.training.resume import align_loops

STATES = ("ready", "started", "processed", "completed")


def counts(number: int, completed: int | None = None) -> dict[str, int]:
    return dict.fromkeys(STATES, number) | {"completed": number if completed is None else completed}


def loops(batches: dict[str, int], epoch: dict[str, int], is_last: bool) -> dict[str, Any]:
    """As Lightning saves them: `batches` since the epoch's start and in all, a validation pass of 5 batches."""
    both = {"current": dict(batches), "total": dict(batches)}
    return {
        "fit_loop": {
            "epoch_loop.batch_progress": copy.deepcopy(both) | {"is_last_batch": is_last},
            "epoch_loop.scheduler_progress": copy.deepcopy(both),
            "epoch_loop.automatic_optimization.optim_progress": {"optimizer": {"step": copy.deepcopy(both)}},
            "epoch_loop.val_loop.batch_progress": {"current": counts(5), "total": counts(5)},
            "epoch_progress": {"current": dict(epoch), "total": dict(epoch)},
        }
    }


def aligned(
    batches: dict[str, int], saved: int, now: int, validates: bool, epoch: dict[str, int], is_last: bool = False
) -> dict[str, Any]:
    """The loops afterwards; `ends` is whether an epoch is still to be ended."""
    state = loops(batches, epoch, is_last)
    ends = align_loops(state, saved, now, validates)
    return state["fit_loop"] | {"ends": ends}


@pytest.mark.parametrize(
    ("batches", "saved", "now", "processed", "completed"),
    [
        (counts(6), 1, 1, 6, 6),
        (counts(6, 5), 1, 1, 6, 5),  # saved at a batch's end, after which Lightning adds the one
        (counts(6), 2, 4, 12, 12),
        (counts(7), 2, 2, 6, 6),  # in the middle of a step, which is taken again
        (counts(7), 2, 1, 3, 3),
    ],
)
def test_whole_steps_are_counted(batches: dict[str, int], saved: int, now: int, processed: int, completed: int) -> None:
    loop = aligned(batches, saved, now, False, counts(0))
    for part in ("current", "total"):
        assert loop["epoch_loop.batch_progress"][part] == counts(processed, completed)
        assert loop["epoch_loop.val_loop.batch_progress"][part] == counts(0)


def test_a_validation_pass_that_was_due_is_begun() -> None:
    loop = aligned(counts(6, 5), 1, 1, True, counts(0))
    assert loop["epoch_loop.batch_progress"]["current"] == counts(6)
    assert loop["epoch_loop.val_loop.batch_progress"]["total"] == counts(0) | {"ready": 1, "started": 1}
    loop = aligned(counts(7), 2, 2, True, counts(0))  # in the middle of a step, which comes again, and so does the pass
    assert loop["epoch_loop.val_loop.batch_progress"]["total"] == counts(0)


def test_an_epoch_at_whose_end_it_was_saved_is_over() -> None:
    loop = aligned(counts(6), 1, 1, False, counts(1, 0), is_last=True)
    assert loop["epoch_progress"] == {"current": counts(1), "total": counts(1)}
    assert loop["epoch_loop.batch_progress"] == {"current": counts(0), "total": counts(6), "is_last_batch": False}
    assert loop["epoch_loop.scheduler_progress"] == {"current": counts(0), "total": counts(6)}
    optimizer = loop["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]
    assert optimizer["step"] == {"current": counts(0), "total": counts(6)}
    assert not loop["ends"]


def test_an_epoch_whose_last_step_was_done_is_still_to_be_ended() -> None:
    loop = aligned(counts(6, 5), 1, 1, False, counts(0), is_last=True)
    assert loop["ends"] and loop["epoch_loop.batch_progress"]["current"] == counts(6)
    assert not aligned(counts(6, 5), 1, 1, True, counts(0), is_last=True)["ends"]  # Lightning ends it, once validated
    assert not aligned(counts(7, 6), 2, 2, False, counts(0), is_last=True)["ends"]  # in the middle of a step
