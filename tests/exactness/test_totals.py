"""A step's loss and gradient against independent arithmetic: counts of the whole step, weights of the whole step."""

from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from utils.exactness_objectives import GivenNats
from utils.exactness_runs import Run, make_data, make_module, make_trainer, quiet

from lm_objectives import Backbone, LRSchedule, Pretraining, TextDataModule
from lm_objectives.data.dataset import Batch
from lm_objectives.data.sampler import StepLoader
from lm_objectives.views import View


def given_view(count: int, nats: int) -> View:
    """A row of 40 tokens with `count` scored positions, of `nats` each."""
    ids, lengths = torch.ones(1, 40, dtype=torch.long), torch.tensor([40])
    return View(ids, lengths, "causal", torch.arange(count), torch.full((count,), nats), {"loss": count})


class GivenBatches(TextDataModule):
    """Micro-batches made by hand in place of a text's: each a number of scored positions, and the nats of each."""

    def __init__(self, folder: Path, *batches: tuple[int, int]) -> None:
        super().__init__(
            str(folder / "corpus.txt"),
            documents="blank-line",
            tokenizer=300,
            seq_len=40,
            global_batch_size=2,
            batch_multiple=2,
            cache=str(folder),
        )
        self.batches = [Batch({"given": given_view(count, nats)}, tokens=40) for count, nats in batches]

    def train_dataloader(self) -> StepLoader:
        return StepLoader(lambda: self.batches, len(self.batches), len(self.batches), None)


def test_micro_batches_of_30_and_10_positions_with_means_2_and_4_give_2_5(folder: Path) -> None:
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1}
    module = Pretraining(
        Backbone("llama", small | {"intermediate_size": 8}),
        {"given": GivenNats()},
        optimizer=lambda groups: torch.optim.SGD(groups, lr=1.0),
        lr_schedule=LRSchedule("constant", warmup=0),
    )
    data = GivenBatches(folder, (30, 2), (10, 4))
    with quiet():
        make_trainer(Run(precision="32-true", accumulate=2, steps=1, optimizer="plain"), 1).fit(module, data)
    assert module.last_step.losses.tolist() == [2.5]  # 3.0, the mean of the means, is the usual bug
    assert module.objectives["given"].factor.item() == 1 - 2.5  # its gradient is the loss itself


class Before(Callback):
    """The parameters before the first step, and the batches that it is made of."""

    def __init__(self) -> None:
        self.parameters: dict[str, Tensor] = {}
        self.batches: list[Batch] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, *args: Any) -> None:
        del trainer, args
        self.parameters = self.parameters or {name: p.detach().clone() for name, p in pl_module.named_parameters()}
        self.batches.append(batch)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("name", ["UPGrad", "MGDA", "PCGrad", "AlignedMTL", "GradNorm"])
def test_a_step_takes_the_gradient_of_the_weighted_total(name: str, accumulate: int, folder: Path) -> None:
    """Oracle: plain autograd of w1·L1 + w2·L2 + … with the weights of the step, for all parameters."""
    run = Run(name, accumulate=accumulate, steps=1, optimizer="plain")
    before = Before()
    with quiet():
        torch.manual_seed(0)
        module = make_module(run)
        make_trainer(run, 1, [before]).fit(module, make_data(run, folder))
    taken = {name: before.parameters[name] - p.detach() for name, p in module.named_parameters()}

    weights = module.last_step.weights
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(before.parameters[name])
    parameters = dict(module.named_parameters())
    total = torch.zeros((), dtype=torch.double)
    for index, objective in enumerate(module.names):
        for part, factor in module.objectives[objective].loss_weights.items():
            views = [batch.views[objective] for batch in before.batches]
            count = sum(view.counts[part] for view in views)
            for view in views:
                nats = module.forward_views({objective: view})[objective].loss_sums[part]
                total = total + weights[index] * factor * nats / count
    expected = dict(zip(parameters, torch.autograd.grad(total, list(parameters.values())), strict=True))
    assert {"backbone", "objectives"} == {name.split(".")[0] for name in expected}
    for name, gradient in expected.items():  # shared, embedding, heads, generator
        torch.testing.assert_close(taken[name], gradient, rtol=1e-9, atol=1e-12, msg=name)
    assert weights.unique().numel() > 1 or not module.balancer.deferred
