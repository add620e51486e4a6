"""Limits of a Trainer in micro-batches and steps, against what Lightning's loops make of them."""

from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
from lightning.pytorch import strategies
from lightning.pytorch.callbacks import ModelCheckpoint, Timer
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.trainer.connectors.data_connector import _parse_num_batches
from lightning.pytorch.trainer.states import RunningStage

from lm_objectives.data.trainer import (
    batches_of_epoch,
    check_strategy,
    check_whole_steps,
    prepare_dev_run,
    repeated_steps,
    training_steps,
    validate_at_end,
    validate_each_objective,
)
from lm_objectives.errors import InputError

STEPS = 10  # of an epoch


def trainer(root: Path, **settings: Any) -> L.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return L.Trainer(accelerator="cpu", default_root_dir=root, **quiet | settings)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(
    "settings",
    [{}, {"limit_train_batches": 0.3}, {"limit_train_batches": 4}, {"limit_train_batches": 99}, {"overfit_batches": 6}],
)
def test_batches_are_counted_as_lightning_does(accumulate: int, settings: dict[str, Any], tmp_path: Path) -> None:
    made = trainer(tmp_path, accumulate_grad_batches=accumulate, **settings)
    expected = _parse_num_batches(RunningStage.TRAINING, STEPS * accumulate, made.limit_train_batches)
    assert batches_of_epoch(made, STEPS) == expected
    assert repeated_steps(made, STEPS) == (expected // accumulate if settings.keys() == {"overfit_batches"} else None)


@pytest.mark.parametrize(
    ("settings", "interval"),
    [
        ({"max_steps": 7, "val_check_interval": 8, "check_val_every_n_epoch": None}, (7, None)),
        ({"max_steps": 7, "val_check_interval": 7, "check_val_every_n_epoch": None}, (7, None)),
        ({"max_steps": 7, "val_check_interval": 3, "check_val_every_n_epoch": None}, (3, None)),
        (
            {"max_steps": 7, "val_check_interval": 20, "check_val_every_n_epoch": None, "accumulate_grad_batches": 2},
            (14, None),
        ),
        ({"max_steps": 7}, (7, None)),  # of an epoch of 10
        ({"max_steps": 7, "val_check_interval": 0.5}, (0.5, 1)),
        ({"max_steps": 17}, (1.0, 1)),
        ({"max_steps": 17, "check_val_every_n_epoch": 2}, (17, None)),
        ({"max_steps": -1, "val_check_interval": 8, "check_val_every_n_epoch": None}, (8, None)),
        ({"max_steps": 7, "val_check_interval": 8, "check_val_every_n_epoch": None, "limit_val_batches": 0}, (8, None)),
    ],
)
def test_a_short_training_is_validated_at_its_end(
    settings: dict[str, Any], interval: tuple[float, int | None], tmp_path: Path
) -> None:
    made = trainer(tmp_path, **settings)
    validate_at_end(made, training_steps(made, STEPS), STEPS)
    assert (made.val_check_interval, made.check_val_every_n_epoch) == interval
    validate_at_end(made, 100, STEPS)  # a longer fit of the same Trainer
    given = settings.get("val_check_interval", 1.0), settings.get("check_val_every_n_epoch", 1)
    assert (made.val_check_interval, made.check_val_every_n_epoch) == given


class Own(DDPStrategy):
    """A strategy of a user's own, which is theirs to answer for."""


@pytest.mark.parametrize("strategy", ["auto", "ddp", "ddp_spawn", Own()])
def test_exact_strategies_are_taken(strategy: Any, tmp_path: Path) -> None:
    check_strategy(trainer(tmp_path, strategy=strategy, devices=1))


@pytest.mark.parametrize("settings", [{"model_averaging_period": 2}, {"ddp_comm_hook": len}])
def test_ddp_that_is_not_exact_is_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected ddp without a "):
        check_strategy(trainer(tmp_path, strategy=DDPStrategy(**settings), devices=1))


@pytest.mark.parametrize("name", ["FSDPStrategy", "ModelParallelStrategy", "SingleDeviceXLAStrategy", "XLAStrategy"])
def test_other_strategies_are_refused_by_name(name: str, tmp_path: Path) -> None:
    """Lightning refuses most of them without an accelerator, so that they stand in here without being set up."""
    made = trainer(tmp_path)
    kind = getattr(strategies, name)
    made._accelerator_connector.strategy = kind.__new__(kind)
    with pytest.raises(InputError, match=rf"expected trainer.strategy auto or ddp, .* found {name}: choose one of"):
        check_strategy(made)


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"max_steps": 7}, 7),
        ({"max_steps": -1}, -1),
        ({"max_epochs": 3}, 30),
        ({"max_epochs": 3, "max_steps": 7}, 7),
        ({"max_epochs": 2, "limit_train_batches": 0.5, "accumulate_grad_batches": 2}, 10),
        ({"max_epochs": 2, "overfit_batches": 1}, 2),
        ({"fast_dev_run": 3, "accumulate_grad_batches": 2}, 2),
        ({"fast_dev_run": True, "accumulate_grad_batches": 4}, 1),
    ],
)
def test_the_length_of_a_training(settings: dict[str, Any], steps: int, tmp_path: Path) -> None:
    made = trainer(tmp_path, **settings)
    prepare_dev_run(made)
    assert training_steps(made, STEPS) == steps


@pytest.mark.parametrize(("flag", "limit", "mend"), [("limit_train_batches", 0.25, 8), ("overfit_batches", 5, 8)])
def test_an_epoch_that_ends_in_a_step(flag: str, limit: float, mend: int, tmp_path: Path) -> None:
    made = trainer(tmp_path, accumulate_grad_batches=4, **{flag: limit})
    if flag == "limit_train_batches":
        check_whole_steps(made, STEPS + 2)  # 12 of 48
    message = rf"trainer.{flag} in whole steps of 4 micro-batches, found {limit}: {mend} would do"
    with pytest.raises(InputError, match=message):
        check_whole_steps(made, STEPS - 3)  # 7 of 28, or 5


def test_a_dev_run_keeps_no_checkpoint(tmp_path: Path) -> None:
    kept = [Timer(), ModelCheckpoint(tmp_path, save_last=True)]
    for quick in (False, 2):
        made = trainer(tmp_path, callbacks=list(kept), fast_dev_run=quick)
        prepare_dev_run(made)
        assert [callback for callback in made.callbacks if callback in kept] == (kept if not quick else kept[:1])


@pytest.mark.parametrize(
    ("settings", "limit"),
    [
        ({"fast_dev_run": True}, 3),
        ({"fast_dev_run": 5}, 5),
        ({"overfit_batches": 1}, 3),
        ({"overfit_batches": 0.5}, 20),
        ({"overfit_batches": 0.01}, 3),
        ({"limit_val_batches": 1}, 1),
        ({"limit_val_batches": 0.5}, 0.5),
        ({"limit_val_batches": 0}, 0),
    ],
)
def test_debugging_flags_validate_each_objective(settings: dict[str, Any], limit: float, tmp_path: Path) -> None:
    """What a user asks of validation itself stays."""
    made = trainer(tmp_path, **settings)
    for _ in range(2):
        validate_each_objective(made, 40, 3)
        assert made.limit_val_batches == limit
