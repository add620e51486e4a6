"""A module that is fitted again begins a new training, from the weights and the balancer's state that it has."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from utils.callback_runs import different
from utils.exactness_runs import Recorder, Run, make_data, make_module, make_trainer, model_state, quiet, tensors_in

from lm_objectives import Pretraining
from lm_objectives.callbacks.gradient_conflict import GradientConflict
from lm_objectives.callbacks.throughput import Throughput
from lm_objectives.errors import InputError
from lm_objectives.training.run import load_run

RUNS = {
    "GradNorm": Run("GradNorm"),
    "StagesGradNorm": Run("StagesGradNorm", accumulate=2),
    "ByDifficultyGradNorm": Run("ByDifficultyGradNorm"),
    "ramps": Run("Uncertainty", "ramps", data="growing window"),
}
QUICK = {"StagesGradNorm"}
FIRST, SECOND = 13, 18  # steps


class Given(Callback):
    """Gives a fresh module the weights and the balancer's state of another; a curriculum's own state begins anew."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = {name: value for name, value in state.items() if ".pace." not in name}

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        pl_module.load_state_dict(self.state, strict=False)


class Rates(Callback):
    """The learning rate of each step."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_before_optimizer_step(self, trainer: L.Trainer, *_: Any) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


def fit(module: Pretraining, run: Run, folder: Path, steps: int, *callbacks: Callback, **where: Any) -> dict[str, Any]:
    """Train; returns all that a training leaves."""
    recorder, rates, throughput = Recorder(), Rates(), Throughput()
    with quiet():
        torch.manual_seed(1)
        trainer = make_trainer(run, 1, [*callbacks, recorder, rates, throughput])
        trainer.fit_loop.epoch_loop.max_steps = steps
        trainer.fit(module, make_data(run, folder), **where)
    left = {"rates": rates.rates, "rows": recorder.rows, "activity": module.activity.entries}
    left |= {"tokens": module.tokens_read, "flops": throughput.state_dict()}
    left |= {"weights": [step.weights.tolist() for step in recorder.steps], "start": recorder.start}
    return left | {
        "state": tensors_in(module.state_dict()),
        "optimizer": tensors_in(trainer.optimizers[0].state_dict()),
    }


def equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    for name, value in one.items():
        if isinstance(value, dict) and all(isinstance(item, Tensor) for item in value.values()):
            assert different(value, other[name]) == [], name
        else:
            assert value == other[name], name


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in QUICK)) for n in RUNS])
def test_a_second_fit_is_a_new_training(name: str, folder: Path) -> None:
    """Oracle: a fresh module that is given the first one's weights and the balancer's state."""
    run = RUNS[name]
    module = make_module(run)
    fit(module, run, folder, FIRST)
    state = {key: value.clone() if isinstance(value, Tensor) else value for key, value in module.state_dict().items()}
    again = fit(module, run, folder, SECOND)
    fresh = fit(make_module(run), run, folder, SECOND, Given(state))
    assert len(again["rates"]) == SECOND and max(again["rates"]) > 0
    equal(again, fresh)


def test_a_loaded_module_is_fitted(folder: Path, tmp_path: Path) -> None:
    """Oracle: the module that was saved, fitted again."""
    run = replace(RUNS["StagesGradNorm"], precision="32-true")
    module = make_module(run)
    with quiet():
        trainer = make_trainer(run, 1)
        trainer.fit(module, make_data(run, folder))
        trainer.save_checkpoint(tmp_path / "it.ckpt")
    loaded = load_run(str(tmp_path / "it.ckpt")).module.train()
    loaded.optimizer, loaded.lr_schedule = module.optimizer, module.lr_schedule
    equal(fit(loaded, run, folder, SECOND), fit(module, run, folder, SECOND))


def test_validation_before_and_between_changes_nothing(folder: Path) -> None:
    """Oracle: the fits without it; a Trainer that only scores has no end of training to give."""
    run = RUNS["ramps"]
    scored, plain = make_module(run), make_module(run)
    for steps in (FIRST, SECOND):
        with quiet():
            scorer = L.Trainer(accelerator="cpu", logger=False, limit_val_batches=2, precision="64-true")
            torch.manual_seed(1)
            scorer.validate(scored, make_data(run, folder), verbose=False)
        equal(fit(scored, run, folder, steps), fit(plain, run, folder, steps))


def test_callbacks_serve_another_fit(folder: Path) -> None:
    """Oracle: new ones; and what one asks of the module ends with the fit."""
    run = Run("GradNorm", steps=3)
    kept = [Throughput(), GradientConflict(every_n_steps=1)]
    module, states = make_module(run), []
    for callbacks in (kept, kept, [Throughput(), GradientConflict(every_n_steps=1)]):
        with quiet():
            make_trainer(run, 1, callbacks).fit(module, make_data(run, folder))
        states.append([callback.state_dict() for callback in callbacks])
    assert states[1][0] == states[2][0] == states[0][0]
    assert [len(state[1]["measured"]) for state in states] == [3, 3, 3]
    assert module.watch_every is None


def test_a_trainer_in_the_middle_is_refused(folder: Path) -> None:
    """Its optimizer is gone; one that is at its end does nothing, as in Lightning."""
    run, data = Run(steps=2), make_data(Run(), folder)
    module, trainer = make_module(run), make_trainer(run, 1)
    with quiet():
        trainer.fit(module, data)
        before = model_state(module)
        trainer.fit(module, data)
        assert different(model_state(module), before) == [] and module.tokens_read
        trainer.fit_loop.epoch_loop.max_steps = 4
        with pytest.raises(
            InputError,
            match="expected a new Trainer for another fit, found one that has done 2 steps",
        ):
            trainer.fit(module, data)
