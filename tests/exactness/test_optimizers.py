"""What every optimizer is given and keeps: clipped totals, and single precision whatever products are rounded to."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from utils.exactness_runs import OPTIMIZERS, Run, State, train

from lm_objectives import Pretraining
from lm_objectives.training.gradients import gradient_norm

CLIP = 0.5  # what `make_trainer` clips to
NAMES = [name for name in OPTIMIZERS if name != "plain"]


class Taken(Callback):
    """Norms of the gradients that the optimizer took its steps by, and of the totals before they were clipped."""

    def __init__(self) -> None:
        self.taken: list[float] = []
        self.totals: list[float] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Pretraining)
        module = pl_module

        def note(*_: Any) -> None:
            assert module.last_step is not None
            self.taken.append(float(gradient_norm(module.parameters())))
            self.totals.append(float(module.last_step.norm))

        trainer.optimizers[0].register_step_post_hook(note)


@pytest.mark.parametrize("balancer", ["Fixed", "UPGrad"])
@pytest.mark.parametrize("name", NAMES)
def test_clipping_acts_on_the_balanced_total(name: str, balancer: str, folder: Path) -> None:
    """Oracle: the norm of the total that the balancer weighed, cut at the limit."""
    taken = Taken()
    train(Run(balancer, optimizer=name, precision="32-true", steps=6), folder, callbacks=[taken])
    assert len(taken.taken) == 6 and max(taken.totals) > 2 * CLIP
    assert taken.taken == pytest.approx([min(total, CLIP) for total in taken.totals], rel=1e-4)


def test_the_loss_scale_is_gone_before_clipping(folder: Path) -> None:
    taken = Taken()
    train(Run("GradNorm", optimizer="adafactor", precision="16-mixed", steps=6, scale=2.0**10), folder, 1, [taken])
    assert CLIP < max(taken.totals) < 100
    assert taken.taken == pytest.approx([min(total, CLIP) for total in taken.totals], rel=1e-4)


@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed"])
@pytest.mark.parametrize("name", NAMES)
def test_weights_and_state_stay_in_single_precision(name: str, precision: str, alone: Callable[[Run], State]) -> None:
    state = alone(Run("Fixed", optimizer=name, precision=precision))
    assert not state.skipped
    kept = {path: value for path, value in state.optimizer.items() if path.startswith("/state") and value.ndim}
    assert kept
    for path, value in {**state.model, **kept}.items():
        assert not value.is_floating_point() or value.dtype == torch.float32, path
