"""What a Trainer's limits on batches mean where rows follow from the step; refused callbacks and strategies."""

from typing import Any
from weakref import WeakKeyDictionary

import lightning.pytorch as L
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BatchSizeFinder,
    Checkpoint,
    GradientAccumulationScheduler,
    LearningRateFinder,
    ModelPruning,
)
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.trainer.states import TrainerFn

from lm_objectives.errors import InputError, expect

_SCORING = 2**40  # steps in whose place nothing is trained, so that settings which move over a training have a length

_REFUSED: dict[type[L.Callback], tuple[str, str]] = {  # what is expected instead, and the mend
    BackboneFinetuning: (
        "a backbone that learns from the first step, by a schedule of the whole training",
        "leave it out, or freeze parameters with a callback of your own for the whole run",
    ),
    BatchSizeFinder: (
        "a data.global_batch_size of your choice, since it is part of the experiment",
        "set it, and raise trainer.accumulate_grad_batches until it fits into memory",
    ),
    GradientAccumulationScheduler: (
        "one accumulation for the whole training",
        "change data.global_batch_size instead",
    ),
    ModelPruning: (
        "weights that stay parameters of their layers, which heads and balancers share",
        "prune the exported model",
    ),
}


_EXACT = (SingleDeviceStrategy, DDPStrategy)  # under which all ranks train the same weights, to the bit

_STARTS = ("", "_spawn", "_fork", "_notebook")
_UNUSED = ("_find_unused_parameters_true", "_find_unused_parameters_false")
_INEXACT = {"_model_averaging_period": "a period of model averaging", "_ddp_comm_hook": "a communication hook"}


_NAMES = ["auto", "single_device", *(f"ddp{start}{more}" for start in _STARTS for more in ("", *_UNUSED))]


def check_strategy_name(name: Any) -> None:
    """Raise for the name of a strategy that `check_strategy` would refuse, before Lightning looks for its devices."""
    expected = "trainer.strategy auto or ddp"
    expect(not isinstance(name, str) or name in _NAMES, expected, name, "choose one of these")


def check_strategy(trainer: L.Trainer) -> None:
    """Raise for a strategy of Lightning's under which a balancer's sums, or a checkpoint, would not be whole."""
    own = [kind for kind in type(trainer.strategy).__mro__ if kind.__module__.partition(".")[0] == "lightning"]
    expected = "trainer.strategy auto or ddp, under which losses, gradients and checkpoints are whole on every rank"
    mend = "choose one of these; DDP with trainer.accumulate_grad_batches saves memory too"
    expect(own[0] in _EXACT, expected, type(trainer.strategy).__name__, mend)
    for name, what in _INEXACT.items():
        mend = "leave it out, so that each step is the mean over all ranks"
        expect(not getattr(trainer.strategy, name, None), f"ddp without {what}", "one", mend)


def check_callbacks(trainer: L.Trainer) -> None:
    """Raise for callbacks of Lightning's that would change rows, weights or the rate in the middle of a run."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    for callback in list(callbacks):
        kind = next((kind for kind in _REFUSED if isinstance(callback, kind)), None)
        of_tuner = getattr(callback, "_early_exit", False)
        if kind is not None:
            if of_tuner:
                callbacks.remove(callback)  # or the next fit of this trainer would be refused, too
            expected, mend = _REFUSED[kind]
            raise InputError(f"expected {expected}, found a {kind.__name__}: {mend}")
        if isinstance(callback, LearningRateFinder) and not of_tuner:
            expected = "a LearningRateFinder that measures alone, since the rate is part of the experiment"
            mend = "give it update_attr=False, or call Tuner(trainer).lr_find, which sets module.lr"
            expect(not callback._update_attr, expected, "one that sets the rate", mend)


def batches_of_epoch(trainer: L.Trainer, steps_per_epoch: int) -> int:
    """Micro-batches of an epoch under a Trainer's limits, as Lightning counts them."""
    whole, limit = steps_per_epoch * trainer.accumulate_grad_batches, trainer.limit_train_batches
    return int(whole * limit) if isinstance(limit, float) else min(whole, limit or 0)


def training_steps(trainer: L.Trainer, steps_per_epoch: int) -> int:
    """Optimizer steps in the whole training, -1 where nothing bounds it; more than any where a Trainer only scores."""
    if trainer.state.fn not in (None, TrainerFn.FITTING):
        return _SCORING
    bounds = []
    if trainer.max_steps is not None and trainer.max_steps >= 0:
        bounds.append(trainer.max_steps)
    if trainer.max_epochs is not None and trainer.max_epochs >= 0:
        steps_per_epoch = batches_of_epoch(trainer, steps_per_epoch) // trainer.accumulate_grad_batches
        bounds.append(trainer.max_epochs * steps_per_epoch)
    return min(bounds, default=-1)


def repeated_steps(trainer: L.Trainer, steps_per_epoch: int) -> int | None:
    """Optimizer steps whose rows every epoch reads again, under `overfit_batches`; else `None`."""
    if not trainer.overfit_batches:  # type: ignore[attr-defined]
        return None
    return batches_of_epoch(trainer, steps_per_epoch) // trainer.accumulate_grad_batches


def check_whole_steps(trainer: L.Trainer, steps_per_epoch: int) -> None:
    """Raise where an epoch would end in the middle of an optimizer step."""
    accumulate, batches = trainer.accumulate_grad_batches, batches_of_epoch(trainer, steps_per_epoch)
    name = "overfit_batches" if trainer.overfit_batches else "limit_train_batches"  # type: ignore[attr-defined]
    expected = f"trainer.{name} in whole steps of {accumulate} micro-batches"
    mend = f"{batches - batches % accumulate + accumulate} would do"
    expect(not batches % accumulate, expected, trainer.limit_train_batches, mend)


def prepare_dev_run(trainer: L.Trainer) -> None:
    """Let a `fast_dev_run` take whole optimizer steps, since its batches are micro-batches here, and write nothing."""
    quick, callbacks = trainer.fast_dev_run, trainer.callbacks  # type: ignore[attr-defined]
    if quick:
        # Lightning saves nothing along the way, but a last checkpoint at the end all the same.
        trainer.callbacks = [c for c in callbacks if not isinstance(c, Checkpoint)]  # type: ignore[attr-defined]
    if quick and not trainer.overfit_batches:  # type: ignore[attr-defined]
        accumulate = trainer.accumulate_grad_batches
        trainer.limit_train_batches = -(-int(quick) // accumulate) * accumulate


_INTERVALS: WeakKeyDictionary[L.Trainer, tuple[Any, int | None]] = WeakKeyDictionary()  # as they were given


def restore_interval(trainer: L.Trainer) -> None:
    """Undo what `validate_at_end` has set, once the training is over."""
    if trainer in _INTERVALS:
        trainer.val_check_interval, trainer.check_val_every_n_epoch = _INTERVALS.pop(trainer)


def validate_at_end(trainer: L.Trainer, steps: int, steps_per_epoch: int) -> None:
    """Let a training that ends before its first validation pass be validated after its last step.

    Args:
        trainer: its interval is lowered to the length of the training, until `restore_interval`.
        steps: optimizer steps in the training, -1 where nothing bounds it.
        steps_per_epoch: of a bookkeeping epoch.
    """
    restore_interval(trainer)
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    tries = any(getattr(callback, "_early_exit", False) for callback in callbacks)  # a tuner's
    scores = trainer.state.fn not in (None, TrainerFn.FITTING)
    every: Any = getattr(trainer, "val_check_interval", None)  # an interval of time leaves none
    if every is None or steps <= 0 or tries or scores or not trainer.limit_val_batches:
        return
    end = steps * trainer.accumulate_grad_batches
    epoch, epochs = batches_of_epoch(trainer, steps_per_epoch), trainer.check_val_every_n_epoch
    if epochs is not None:  # from 1, by whole epochs; within one by parts or micro-batches
        first = (epochs - 1) * epoch + (int(epoch * every) if isinstance(every, float) else every)
    else:
        first = every if isinstance(every, int) else int(epoch * every)
    if first > end:
        _INTERVALS[trainer] = every, epochs
        trainer.val_check_interval, trainer.check_val_every_n_epoch = end, None


def validate_each_objective(trainer: L.Trainer, batches: int, objectives: int) -> None:
    """Give `fast_dev_run` and `overfit_batches` a validation batch of each objective: a batch is of one alone here.

    Args:
        trainer: the one that validates.
        batches: validation batches of this rank.
        objectives: with rows of their own.
    """
    limit = trainer.limit_val_batches
    if limit and (trainer.fast_dev_run or trainer.overfit_batches):  # type: ignore[attr-defined]
        trainer.limit_val_batches = max(int(batches * limit) if isinstance(limit, float) else limit, objectives)
