"""Compiled modules: weights of the uncompiled run to the bit, few graphs, and each step in one of them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch._dynamo.utils import counters
from utils.callback_runs import different, fit, new_data, new_trainer, state
from utils.command_line import REPOSITORY
from utils.families import built

from lm_objectives import Pretraining
from lm_objectives.balancers import TorchJD
from lm_objectives.callbacks.throughput import Throughput
from lm_objectives.training.compiling import compile_backbones


class Calls:
    """A backend that runs graphs as they are, and counts them and their calls."""

    def __init__(self) -> None:
        self.graphs = self.calls = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        self.graphs += 1

        def run(*values: Any) -> Any:
            self.calls += 1
            return graph.forward(*values)

        return run


@pytest.fixture(autouse=True)
def fresh_tracer() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def from_outside(backend: Any) -> Callable[[Pretraining], Any]:
    return lambda module: torch.compile(module, backend=backend)


def from_inside(backend: Any) -> Callable[[Pretraining], Any]:
    def compiled(module: Pretraining) -> Pretraining:
        module.compile(backend=backend)
        return module

    return compiled


VALIDATES = {"limit_val_batches": 1.0, "val_check_interval": 2, "check_val_every_n_epoch": None}


@pytest.mark.parametrize("compiler", [from_outside, from_inside])
def test_each_training_step_runs_compiled_though_flops_are_counted_in_between(
    compiler: Callable[[Any], Callable[[Pretraining], Any]], text: Path, tmp_path: Path
) -> None:
    """Oracle: the uncompiled run. FLOPs are counted under a mode for which a tracer would skip the model for good."""
    calls = Calls()
    _, plain = fit(text, tmp_path, max_steps=4)
    _, module = fit(text, tmp_path, [Throughput()], max_steps=4, compiler=compiler(calls))
    assert different(state(module), state(plain)) == []
    assert calls.calls == 4
    assert calls.graphs == counters["stats"]["unique_graphs"] <= 2


_EVERY_CALLBACK = """
import json, sys
from pathlib import Path
import torch
from torch._dynamo.utils import counters
from utils.callback_runs import different, fit, state
from lm_objectives.callbacks import GradientConflict
from lm_objectives.callbacks.curves import Curves
from lm_objectives.callbacks.finish import FinalCheckpoint, FinalValidation
from lm_objectives.callbacks.interrupt import GracefulInterrupt
from lm_objectives.callbacks.progress import Progress
from lm_objectives.callbacks.throughput import Throughput
from lm_objectives.callbacks.validation_table import ValidationTable

torch.set_num_threads(1)
text, root = Path(sys.argv[1]), Path(sys.argv[2])
settings = {"max_steps": 12, "limit_val_batches": 1.0, "val_check_interval": 4, "check_val_every_n_epoch": None}
own = FinalValidation, Throughput, GracefulInterrupt, FinalCheckpoint, Progress, Curves, ValidationTable
runs = [
    fit(text, root, [*(kind() for kind in own), GradientConflict(4)], compiler=compiler, **settings)
    for compiler in (lambda module: module, lambda module: torch.compile(module, backend="aot_eager"))
]
found = [state(module) for _, module in runs]
steps = [trainer.global_step for trainer, _ in runs]
print(json.dumps([steps, counters["stats"]["unique_graphs"], different(*found)]))
"""


@pytest.mark.slow
def test_few_graphs_beside_every_callback(text: Path, tmp_path: Path) -> None:
    """Oracle: the uncompiled run, whose weights are equal to the bit.

    In a process of its own, since the checks of shapes under pytest are more graphs.
    """
    paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])
    command = [sys.executable, "-c", _EVERY_CALLBACK, str(text), str(tmp_path)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    steps, graphs, differing = json.loads(done.stdout.splitlines()[-1])
    assert steps == [12, 12]
    assert 1 <= graphs <= 3
    assert differing == []


@pytest.mark.slow
def test_a_compiled_run_goes_on_and_is_validated(text: Path, tmp_path: Path) -> None:
    """Oracle: the uncompiled run that was not stopped, whose checkpoints have the same keys."""
    compiler, settings = from_outside("eager"), {"max_steps": 4, **VALIDATES}
    whole, plain = fit(text, tmp_path, balancer=TorchJD("UPGrad"), **settings)
    keep = ModelCheckpoint(tmp_path, every_n_train_steps=2, save_top_k=-1, filename="{step}")
    fit(text, tmp_path, [keep], balancer=TorchJD("UPGrad"), compiler=compiler, **settings)
    saved = torch.load(tmp_path / "step=2.ckpt", weights_only=True)["state_dict"]
    assert saved.keys() == plain.state_dict().keys()
    _, module = fit(
        text, tmp_path, balancer=TorchJD("UPGrad"), compiler=compiler, resume=tmp_path / "step=2.ckpt", **settings
    )
    assert different(state(module), state(plain)) == []
    [found] = new_trainer(tmp_path, limit_val_batches=1.0).validate(compiler(module), new_data(text), verbose=False)
    assert found == {name: float(whole.callback_metrics[name]) for name in found}


def test_what_runs_without_gradients_is_not_compiled() -> None:
    """Oracle: the backend's count; a module without a compiler keeps what the user compiled."""
    calls = Calls()
    module: Any = L.LightningModule()
    module.backbone = built("gpt2")
    compile_backbones(module, None)
    assert module.backbone.model._compiled_call_impl is None
    compile_backbones(module, lambda function: torch.compile(function, backend=calls))
    ids = torch.ones(2, 4, dtype=torch.long)
    with torch.no_grad():
        module.backbone.model(ids)
    assert calls.calls == 0
    module.backbone.model(ids)
    assert calls.calls == 1
