"""End an optimizer step after its last micro-batch: update the balancer, or skip the step where it is not finite."""

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lm_objectives.balancers.base import StepStatistics
from lm_objectives.data.plan import row_owner
from lm_objectives.training.gradients import gradient_norm
from lm_objectives.training.step import NonFiniteError, StepAccumulator, StepMetrics

_COUNTED = ("train/tokens", "train/skipped", "train/learning_rate")
THROUGHPUT = ("train/tokens_per_second", "train/flops")
"""What the callback `Throughput` adds to them."""

_WINDOW = 100  # steps, of which more than half must not be skipped

_FEWEST = 10  # steps of a whole training that say anything of it

log = logging.getLogger("lm_objectives")


def end_step(module: Any, whole: StepAccumulator, watched: Sequence[str]) -> StepMetrics:
    """Make gradients and balancer ready for the optimizer; returns what the step measured.

    Args:
        module: a `Pretraining` module in training, whose gradients are those of the weighted total.
        whole: its step, of this rank.
        watched: shared parameters over which each objective's gradient is kept, for callbacks.
    """
    trainer, step = module.trainer, module.trainer.global_step
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    scale = scaler.get_scale() if scaler is not None else 1.0
    whole.reduce(trainer.world_size, partial(trainer.strategy.reduce, reduce_op="sum"), scale)
    norm = gradient_norm(module.parameters())
    if finite := whole.is_finite(norm):
        norm = _balance(module, whole, step, norm)
    else:
        _skip(module, whole, step, scaler is not None and scaler.get_scale() > 1)
    gradients = whole.unweighted_gradients(watched).clone() if watched else None
    return StepMetrics(step, whole.losses, whole.weights, norm, finite, whole.has_rows, gradients)


def logged_names(names: Sequence[str]) -> set[str]:
    """The names of all numbers of a training step that loggers and callbacks may get, for objectives of these names."""
    nothing = torch.zeros(len(names))
    step = StepMetrics(0, nothing, nothing, torch.zeros(()), True, (True,) * len(names), None)
    return {*step.to_log(dict.fromkeys(names, 0), 1), *_COUNTED, *THROUGHPUT}


def log_step(module: Any, metrics: StepMetrics) -> None:
    """Hand a step's numbers to Lightning, which logs them at the end of its last micro-batch."""
    trainer, data = module.trainer, module.trainer.datamodule
    read = data.plan.rows(metrics.step)
    rows = {name: read.get(row_owner(name, module.sources), 0) for name in module.names}
    values = metrics.to_log(rows, data.global_batch_size)
    counted = module.tokens_read, module.steps_skipped, trainer.optimizers[0].param_groups[0]["lr"]
    values |= {name: float(value) for name, value in zip(_COUNTED, counted, strict=True)}
    module.log_dict(values, batch_size=1, rank_zero_only=True)


def _balance(module: Any, whole: StepAccumulator, step: int, norm: Tensor) -> Tensor:
    """Update the balancer; returns the norm of the total's gradient, which it may have changed."""
    gradients = None
    if module.balancer.needs != "losses" and whole.store is not None:
        gradients = whole.unweighted_gradients(module.backbone.within_layers(whole.store.parameters))
    weights = module.balancer.update(StepStatistics(step, whole.losses, whole.trained(), gradients))
    if weights is None:
        return norm
    whole.apply_weights(weights, [module.objectives[name] for name in module.names])
    return gradient_norm(module.parameters())


def _skip(module: Any, whole: StepAccumulator, step: int, scaled: bool) -> None:
    """Leave everything as it was before this step, or stop."""
    expected = scaled and bool(whole.losses.isfinite().all())  # a gradient scaler finds its scale by overflows
    if module.on_nonfinite == "stop" and not expected:
        whole.raise_nonfinite(step)
    if not expected and not module.steps_skipped:
        log.warning("step %d is skipped: a loss or a gradient is not finite (train/skipped counts them)", step)
    if not expected:
        module.recent_skips = [*module.recent_skips, step]
        check_recent_skips(module, step + 1)
    module.steps_skipped += 1
    module.zero_grad()


def check_recent_skips(module: Any, done: int, ended: bool = False) -> None:
    """Raise where more than half of the last steps were skipped, those of a gradient scaler not counted.

    Args:
        module: a `Pretraining` module in training; older skips are forgotten.
        done: steps so far.
        ended: whether these were all; else it may be judged by 100 alone.

    Raises:
        NonFiniteError: then.
    """
    module.recent_skips = [step for step in module.recent_skips if step >= done - _WINDOW]
    last = min(done, _WINDOW)
    if 2 * len(module.recent_skips) > (last if ended and done >= _FEWEST else _WINDOW):
        raise NonFiniteError(
            f"expected finite losses and gradients in most steps, found {len(module.recent_skips)} of the last {last} "
            f"skipped at step {done}: lower the learning rate in a new run, or find the objective that diverges"
        )
