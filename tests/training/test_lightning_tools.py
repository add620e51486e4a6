"""Lightning's own flags, callbacks and tuners: those that change nothing learned do so to the bit, others as Lightning.

The oracle of most is the plain run of six steps.
"""

import logging
from collections.abc import Callable
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BatchSizeFinder,
    Callback,
    DeviceStatsMonitor,
    EarlyStopping,
    EMAWeightAveraging,
    GradientAccumulationScheduler,
    LearningRateFinder,
    LearningRateMonitor,
    ModelCheckpoint,
    ModelPruning,
    ModelSummary,
    RichModelSummary,
    StochasticWeightAveraging,
    Timer,
    WeightAveraging,
)
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.tuner import Tuner
from torch import Tensor
from utils.callback_runs import STEPS, different, fit, new_data, new_module, new_trainer, state
from utils.exactness_rows import row_digests

from lm_objectives import CausalLM, Muon
from lm_objectives.balancers import Balancer, ByDifficulty, Curriculum, GradNorm, Uncertainty
from lm_objectives.callbacks import GradientConflict
from lm_objectives.callbacks.curves import Curves
from lm_objectives.callbacks.finish import FinalCheckpoint
from lm_objectives.callbacks.interrupt import GracefulInterrupt
from lm_objectives.callbacks.throughput import Throughput
from lm_objectives.errors import InputError

EPOCH = 6  # optimizer steps that the corpus makes
HELD_OUT = 6  # batches of a whole validation pass, each of one objective


class Seen(Callback):
    """What a run reads, learns and scores, in its order."""

    def __init__(self) -> None:
        self.rows: list[list[bytes]] = []
        self.losses: list[float] = []
        self.weights: list[dict[str, Tensor]] = []
        self.validated: list[str] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.rows.append(sorted(row_digests(batch)))
        if trainer.fit_loop._should_accumulate():
            return
        self.losses.append(float(pl_module.last_step.losses.sum()))
        self.weights.append(parameters(pl_module))

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self.validated += list(batch.views)


def parameters(module: Any) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def validating(text: Path, root: Path, callbacks: Any = (), **settings: Any) -> tuple[L.Trainer, Any, Seen]:
    seen = Seen()
    trainer, module = fit(text, root, [*callbacks, seen], **{"limit_val_batches": 1.0} | settings)
    return trainer, module, seen


@pytest.fixture(scope="module")
def plain(text: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Tensor], Seen]:
    """State and course of the plain run."""
    _, module, seen = validating(text, tmp_path_factory.mktemp("plain"))
    assert len(seen.rows) == STEPS == EPOCH and len(seen.validated) == HELD_OUT
    return state(module), seen


ONE_EPOCH = {"max_steps": -1, "max_epochs": 1}
CHANGES_NOTHING: dict[str, tuple[dict[str, Any], int]] = {  # settings, and how often the held-out rows are scored
    "profiler simple": ({"profiler": "simple"}, 1),
    "profiler advanced": ({"profiler": "advanced"}, 1),
    "deterministic": ({"deterministic": True}, 1),
    "detect_anomaly": ({"detect_anomaly": True}, 1),
    "barebones": ({"barebones": True, "log_every_n_steps": None}, 1),
    "use_distributed_sampler": ({"use_distributed_sampler": False}, 1),
    "reload": ({"reload_dataloaders_every_n_epochs": 1, "limit_train_batches": 2}, 3),
    "inference_mode": ({"inference_mode": False}, 1),
    "devices": ({"devices": "auto"}, 1),
    "max_time": ({"max_time": "00:01:00:00"}, 1),
    "no logging": ({"log_every_n_steps": 0}, 1),
    "a fraction of the epoch": ({"limit_train_batches": 0.5}, 2),
    "more than the epoch": ({"limit_train_batches": 100}, 1),
    "no end but the epoch's": (ONE_EPOCH, 1),
    "validation by a fraction": ({"val_check_interval": 0.5, **ONE_EPOCH}, 2),
    "validation by steps": ({"val_check_interval": 2, "check_val_every_n_epoch": None}, 3),
    "validation by time": ({"val_check_interval": "00:00:00:00"}, STEPS),
    "validation by hours": ({"val_check_interval": timedelta(hours=1)}, 0),
    "validation by a dict": ({"val_check_interval": {"hours": 1}}, 0),
}


@pytest.mark.parametrize("name", CHANGES_NOTHING)
def test_a_setting_that_should_change_nothing_learned_does_not(
    name: str, text: Path, tmp_path: Path, plain: tuple[dict[str, Tensor], Seen]
) -> None:
    settings, passes = CHANGES_NOTHING[name]
    trainer, module, seen = validating(text, tmp_path, **settings)
    assert trainer.global_step == STEPS
    assert seen.rows == plain[1].rows
    assert different(state(module), plain[0]) == []
    assert len(seen.validated) == passes * HELD_OUT


WATCHES: dict[str, Callable[[], Callback]] = {
    "Timer": lambda: Timer("00:00:10:00"),
    "LearningRateMonitor": LearningRateMonitor,
    "DeviceStatsMonitor": DeviceStatsMonitor,
    "RichModelSummary": lambda: RichModelSummary(max_depth=2),
    "EarlyStopping": lambda: EarlyStopping("val/masked/loss", verbose=True),
    "LearningRateFinder": lambda: LearningRateFinder(num_training_steps=12, update_attr=False),
}


@pytest.mark.parametrize("name", WATCHES)
def test_a_callback_that_only_watches_changes_nothing_learned(
    name: str, text: Path, tmp_path: Path, plain: tuple[dict[str, Tensor], Seen]
) -> None:
    _, module, seen = validating(text, tmp_path, [WATCHES[name]()], logger=CSVLogger(tmp_path))
    assert seen.rows == plain[1].rows
    assert different(state(module), plain[0]) == []


def test_a_summary_is_of_the_whole_model(text: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Though it is made late. Oracle: torch's own count."""
    summary = "lightning.pytorch.callbacks.model_summary"
    caplog.set_level(logging.INFO, summary)
    logging.getLogger(summary).addHandler(caplog.handler)
    _, module = fit(text, tmp_path, [ModelSummary(max_depth=3)], max_steps=1)
    logging.getLogger(summary).removeHandler(caplog.handler)
    assert f"{sum(p.numel() for p in module.parameters()) / 1e3:.1f} K    Total params" in caplog.text
    assert "backbone.model.layers" in caplog.text


def test_one_callback_may_stand_in_place_of_a_list(text: Path, tmp_path: Path) -> None:
    """Oracle: no loss improves by 100, so that the second pass without one ends the run."""
    stop = EarlyStopping("val/masked/loss", min_delta=100.0, patience=2)
    settings: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(
        max_epochs=9, limit_train_batches=1, callbacks=stop, accelerator="cpu", default_root_dir=tmp_path, **settings
    )
    trainer.fit(new_module(), new_data(text))
    assert trainer.global_step == stop.stopped_epoch + 1 == 3


def test_values_are_clipped(text: Path, tmp_path: Path) -> None:
    class Largest(Callback):
        found = 0.0

        def on_before_zero_grad(self, trainer: L.Trainer, pl_module: Any, optimizer: Any) -> None:
            gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
            self.found = max([self.found, *(float(gradient.abs().max()) for gradient in gradients)])

    largest = Largest()
    fit(text, tmp_path, [largest], gradient_clip_val=1e-3, gradient_clip_algorithm="value")
    assert largest.found == pytest.approx(1e-3)


# Debugging flags.


@pytest.mark.parametrize(("batches", "accumulate", "steps"), [(1, 1, 1), (2, 1, 2), (0.2, 1, 1), (4, 2, 2)])
def test_overfitting_reads_the_same_rows_each_epoch(
    batches: float, accumulate: int, steps: int, text: Path, tmp_path: Path, plain: tuple[dict[str, Tensor], Seen]
) -> None:
    """Oracle: the rows of the plain run's first steps."""
    settings = {"overfit_batches": batches, "accumulate_grad_batches": accumulate, "max_steps": 5}
    _, module, seen = validating(text, tmp_path, **settings)
    whole = [sorted(chain(*seen.rows[at : at + accumulate])) for at in range(0, 5 * accumulate, accumulate)]
    assert whole == [plain[1].rows[step % steps] for step in range(5)]
    assert set(seen.validated) == set(module.names)  # each objective, however few batches
    if accumulate == 1:
        assert seen.losses[-1] < seen.losses[0]


@pytest.mark.slow
def test_what_is_read_again_and_again_is_memorised(text: Path, tmp_path: Path) -> None:
    """Oracle: what is known by heart has a loss near 0; new rows have one near 1.9 by then, unigrams one of 3.6."""
    module, seen = new_module({"causal": CausalLM()}), Seen()
    module.lr = 0.02
    new_trainer(tmp_path, [seen], overfit_batches=1, max_steps=120).fit(module, new_data(text))
    assert len({tuple(rows) for rows in seen.rows}) == 1
    assert seen.losses[-1] < 0.3


def test_overfitting_goes_on_with_the_same_rows(text: Path, tmp_path: Path) -> None:
    """Oracle: the run that was not stopped, in the middle of an epoch."""
    whole = Seen()
    _, module = fit(text, tmp_path, [whole], overfit_batches=4)
    keep = ModelCheckpoint(tmp_path, every_n_train_steps=3, save_top_k=-1, filename="{step}")
    fit(text, tmp_path, [keep], overfit_batches=4, max_steps=3)
    rest = Seen()
    _, resumed = fit(text, tmp_path, [rest], overfit_batches=4, resume=tmp_path / "step=3.ckpt")
    assert rest.rows == whole.rows[3:]
    assert different(state(resumed), state(module)) == []


@pytest.mark.parametrize(
    ("quick", "accumulate", "steps"), [(True, 1, 1), (True, 2, 1), (1, 2, 1), (3, 1, 3), (3, 2, 2), (100, 2, EPOCH)]
)
def test_a_dev_run_takes_whole_steps_validates_each_objective_and_writes_nothing(
    quick: int, accumulate: int, steps: int, text: Path, tmp_path: Path, own_signals: None
) -> None:
    (tmp_path / "metrics.csv").write_text("step,train/causal/loss\n0,5.0\n", encoding="utf-8")  # of an earlier run
    writers = [Curves(), FinalCheckpoint(), GradientConflict(1), ModelCheckpoint(tmp_path, save_last=True)]
    writers += [GracefulInterrupt(), Throughput()]
    settings = {"fast_dev_run": quick, "accumulate_grad_batches": accumulate, "limit_val_batches": None}
    trainer, module, seen = validating(text, tmp_path, writers, **settings)
    assert trainer.global_step == steps == len(seen.losses)
    assert len(seen.rows) == steps * accumulate
    assert set(seen.validated) == set(module.names)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_batches_that_are_no_whole_steps(text: Path, tmp_path: Path) -> None:
    for flag in ("overfit_batches", "limit_train_batches"):
        with pytest.raises(InputError, match=rf"trainer.{flag} in whole steps of 2 micro-batches, found 3: 4 would do"):
            fit(text, tmp_path, accumulate_grad_batches=2, **{flag: 3})


# Callbacks that change weights.


def test_averaged_weights_are_those_of_lightning(text: Path, tmp_path: Path) -> None:
    """Oracles: means of the plain run's weights by hand."""
    _, averaged, seen = validating(text, tmp_path, [WeightAveraging()])
    _, decayed, _ = validating(text, tmp_path, [EMAWeightAveraging(decay=0.9)])
    for name, value in parameters(averaged).items():
        torch.testing.assert_close(value, sum(step[name] for step in seen.weights) / STEPS)
    for name, value in parameters(decayed).items():
        expected = seen.weights[0][name]
        for step in seen.weights[1:]:
            expected = 0.9 * expected + 0.1 * step[name]
        torch.testing.assert_close(value, expected)


def test_stochastic_weight_averaging_averages(text: Path, tmp_path: Path) -> None:
    """Oracle: the mean of the weights at the starts of the epochs from the one before `swa_epoch_start` on."""
    swa = StochasticWeightAveraging(1e-2, swa_epoch_start=2)
    _, module, seen = validating(text, tmp_path, [swa], max_steps=-1, max_epochs=5, limit_train_batches=2)
    starts = seen.weights[1:8:2]
    for name, value in parameters(module).items():
        torch.testing.assert_close(value, sum(start[name] for start in starts) / 4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "step"),
    [(lambda: EMAWeightAveraging(decay=0.9), 5), (lambda: StochasticWeightAveraging(0.01, 1), 6)],
    ids=["EMA", "SWA"],
)
def test_an_averaged_run_goes_on(make: Callable[[], Callback], step: int, text: Path, tmp_path: Path) -> None:
    """Oracle: the run that was not stopped; Lightning's stochastic averaging goes on from the end of an epoch alone."""
    settings: dict[str, Any] = {"max_steps": -1, "max_epochs": 4, "limit_train_batches": 2, "balancer": Uncertainty()}
    _, whole = fit(text, tmp_path, [make()], **settings)
    keep = ModelCheckpoint(tmp_path, every_n_train_steps=1, save_top_k=-1, filename="{step}")
    fit(text, tmp_path, [make(), keep], **settings)
    _, resumed = fit(text, tmp_path, [make()], resume=tmp_path / f"step={step}.ckpt", **settings)
    assert different(state(resumed), state(whole)) == []


REFUSED: dict[str, tuple[Callable[[], Callback], str]] = {
    "BackboneFinetuning": (BackboneFinetuning, "a backbone that learns from the first step"),
    "BatchSizeFinder": (BatchSizeFinder, "found a BatchSizeFinder: set it, and raise trainer.accumulate_grad_batches"),
    "GradientAccumulationScheduler": (lambda: GradientAccumulationScheduler({0: 2}), "one accumulation for the whole"),
    "LearningRateFinder": (LearningRateFinder, "measures alone, .*: give it update_attr=False"),
    "ModelPruning": (lambda: ModelPruning("l1_unstructured"), "found a ModelPruning: prune the exported model"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_callback_that_cannot_work_is_refused_before_anything_is_made(name: str, text: Path, tmp_path: Path) -> None:
    make, message = REFUSED[name]
    module = new_module()
    with pytest.raises(InputError, match=message):
        new_trainer(tmp_path, [make()]).fit(module, new_data(text))
    assert not list(module.parameters())
    assert not list(tmp_path.iterdir())


# Tuners.

MOVING: dict[str, Callable[[], Balancer]] = {
    "GradNorm": GradNorm,
    "Uncertainty": lambda: Uncertainty(0.05),
    "ByDifficulty": lambda: Curriculum(
        ByDifficulty(["causal", "masked", "order"], {"causal": 99.0}, window=1, smoothing=0.5)
    ),
}


@pytest.mark.parametrize("balancer", MOVING)
def test_the_learning_rate_finder_leaves_everything_as_it_was(balancer: str, text: Path, tmp_path: Path) -> None:
    """Oracle: a run without it, of module, rows and counts."""
    without = Seen()
    _, module = fit(text, tmp_path, [without], balancer=MOVING[balancer]())
    tuned, data, seen = new_module(balancer=MOVING[balancer]()), new_data(text), Seen()
    trainer = new_trainer(tmp_path, [seen])
    found = Tuner(trainer).lr_find(tuned, data, num_training=30, early_stop_threshold=None, update_attr=False)
    assert found is not None and len(found.results["lr"]) == len(found.results["loss"]) == 30
    assert (tuned.lr, tuned.tokens_read, tuned.steps_skipped, trainer.global_step) == (None, 0, 0, 0)
    assert not list(tmp_path.iterdir())
    trainer.fit(tuned, data)
    assert seen.rows == without.rows
    assert different(state(tuned), state(module)) == []
    assert tuned.tokens_read == module.tokens_read
    assert tuned.activity.entries == module.activity.entries


def test_the_rate_that_a_tuner_finds_is_trained_with(text: Path, tmp_path: Path) -> None:
    module, data, trainer = new_module(), new_data(text), new_trainer(tmp_path)
    found = Tuner(trainer).lr_find(module, data, num_training=20)
    assert found is not None and module.lr == found.suggestion() != 1e-3
    trainer.fit(module, data)
    assert {group["lr"] for group in trainer.optimizers[0].param_groups} == {module.lr}


def test_two_rates_are_not_found_as_one(text: Path, tmp_path: Path) -> None:
    module = new_module()
    module.optimizer = Muon
    with pytest.raises(InputError, match=r"one learning rate to find, .*, found 0.003 and 0.02: set each in the opti"):
        Tuner(new_trainer(tmp_path)).lr_find(module, new_data(text))


def test_the_batch_size_is_not_a_tuners(text: Path, tmp_path: Path) -> None:
    """A Trainer that refused it trains afterwards."""
    trainer, module, data = new_trainer(tmp_path), new_module(), new_data(text)
    with pytest.raises(InputError, match=r"global_batch_size of your choice, .* found a BatchSizeFinder"):
        Tuner(trainer).scale_batch_size(module, data)
    trainer.fit(module, data)
    assert trainer.global_step == STEPS
