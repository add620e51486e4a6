"""Lightning's counts where a checkpoint was saved; whole runs are resumed in tests/exactness."""

from typing import Any

import pytest

from lm_objectives.training.resume import align_loops

STATES = ("ready", "started", "processed", "completed")


def counts(number: int, completed: int | None = None) -> dict[str, int]:
    return dict.fromkeys(STATES, number) | {"completed": number if completed is None else completed}


def loops(batches: dict[str, int], epoch: dict[str, int]) -> dict[str, Any]:
    """As Lightning saves them: `batches` since the epoch's start and in all, a validation pass of 5 batches."""
    return {
        "fit_loop": {
            "epoch_loop.batch_progress": {"current": dict(batches), "total": dict(batches), "is_last_batch": True},
            "epoch_loop.val_loop.batch_progress": {"current": counts(5), "total": counts(5)},
            "epoch_progress": {"current": dict(epoch), "total": dict(epoch)},
        }
    }


def aligned(batches: dict[str, int], saved: int, now: int, validates: bool, epoch: dict[str, int]) -> dict[str, Any]:
    state = loops(batches, epoch)
    align_loops(state, saved, now, validates)
    return state["fit_loop"]


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
    loop = aligned(counts(6), 1, 1, False, counts(1, 0))
    assert loop["epoch_progress"] == {"current": counts(1), "total": counts(1)}
    assert loop["epoch_loop.batch_progress"]["current"] == counts(0)
    assert loop["epoch_loop.batch_progress"]["is_last_batch"] is False
