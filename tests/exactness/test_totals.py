"""A step's loss and gradient against independent arithmetic: counts of the whole step, weights of the whole step."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from exactness_objectives import GivenNats
from exactness_runs import BALANCERS, Run, State, make_data, make_module, make_trainer, quiet
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from lm_objectives import Backbone, Pretraining, Schedule
from lm_objectives.balancers import TorchJD
from lm_objectives.corruption.base import View, Vocabulary
from lm_objectives.data.rows import Batch, Plan, StepLoader
from lm_objectives.pretraining import LastStep


class GivenBatches(L.LightningDataModule):
    """Micro-batches made by hand: each a number of scored positions and the nats of every one of them."""

    vocabulary, window, rows_per_step, steps_per_epoch = Vocabulary(300, 0, 1, 2, 3), 40, 2, 1

    def __init__(self, *batches: tuple[int, int]) -> None:
        super().__init__()
        self.batches = [
            Batch({"given": View(torch.ones(1, 40, dtype=torch.long), torch.tensor([40]), "causal", torch.arange(n),
                                 torch.full((n,), nats), {"loss": n})}, tokens=40)
            for n, nats in batches
        ]  # fmt: skip

    def setup(self, stage: str | None = None) -> None:
        del stage
        self.plan = Plan(self.trainer.lightning_module.sources, 2, 1)

    def train_dataloader(self) -> StepLoader:
        return StepLoader(lambda: self.batches, len(self.batches), len(self.batches), None)


def test_micro_batches_of_30_and_10_positions_with_means_2_and_4_give_2_5() -> None:
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1}
    module = Pretraining(
        Backbone("llama", small | {"intermediate_size": 8}),
        {"given": GivenNats()},
        optimizer=lambda groups: torch.optim.SGD(groups, lr=1.0),
        schedule=Schedule("constant", warmup=0),
    )
    data = GivenBatches((30, 2), (10, 4))
    with quiet():
        trainer = make_trainer(Run(precision="32-true", accumulate=2, steps=1), 1)
        trainer.gradient_clip_val = None
        trainer.fit(module, data)
    assert module.last_step.losses.tolist() == [2.5]  # 3.0, the mean of the means, is the usual bug
    assert module.objectives["given"].factor.item() == 1 - 2.5  # its gradient is the loss itself


class Before(Callback):
    """The parameters before the first step, and the batches that it is made of."""

    def __init__(self) -> None:
        self.parameters: dict[str, Tensor] = {}
        self.batches: list[Batch] = []
        self.last: LastStep | None = None

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        del trainer, batch_idx
        self.parameters = self.parameters or {name: p.detach().clone() for name, p in pl_module.named_parameters()}
        self.batches.append(batch)


DEFERRED = ["UPGrad", "MGDA", "PCGrad", "IMTLG"]


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("name", [*DEFERRED, "GradNorm"])
def test_a_step_takes_the_gradient_of_the_weighted_total(name: str, accumulate: int, folder: Path) -> None:
    """Oracle: plain autograd of w1·L1 + w2·L2 + … with the weights of the step, for all parameters."""
    run = Run(name, accumulate=accumulate, steps=1)
    before = Before()
    with quiet():
        torch.manual_seed(0)
        module = make_module(run)
        module.optimizer = lambda groups: torch.optim.SGD(groups, lr=1.0)  # one step moves by the gradient
        module.schedule = Schedule("constant", warmup=0)
        trainer = make_trainer(run, 1, [before])
        trainer.gradient_clip_val = None
        trainer.fit(module, make_data(run, folder))
    taken = {name: before.parameters[name] - p.detach() for name, p in module.named_parameters()}

    weights = module.last_step.weights
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(before.parameters[name])
    parameters = dict(module.named_parameters())
    total = torch.zeros((), dtype=torch.double)
    for index, objective in enumerate(module.names):
        for part, factor in module.objectives[objective].parts.items():
            views = [batch.views[objective] for batch in before.batches]
            count = sum(view.counts[part] for view in views)
            for view in views:
                nats = module.outcomes({objective: view})[objective].sums[part]
                total = total + weights[index] * factor * nats / count
    expected = dict(zip(parameters, torch.autograd.grad(total, list(parameters.values())), strict=True))
    for part in ("backbone.model.embed_in", "backbone.model.layers.0", "objectives.unequal.head",
                 "objectives.masked.transform", "objectives.order.dense", "objectives.replaced.generator"):  # fmt: skip
        chosen = [name for name in parameters if name.startswith(part)]
        assert chosen, part
        for name in chosen:
            torch.testing.assert_close(taken[name], expected[name], rtol=1e-9, atol=1e-12)
    assert weights.unique().numel() > 1 or not module.balancer.deferred
