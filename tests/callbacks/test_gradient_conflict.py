"""Cosines and norms of the objectives' gradients against `torch.autograd.grad` in double precision."""

import copy
import math
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import DummyLogger
from matplotlib.image import imread
from torch import Tensor
from utils.callback_runs import fit

from lm_objectives.balancers import Balancer, Curriculum, Fixed, GradNorm, Stages, TorchJD, Uncertainty
from lm_objectives.callbacks import GradientConflict
from lm_objectives.callbacks.gradient_conflict import cosines_and_norms
from lm_objectives.objectives import MaskedLM, SentenceOrder

# Powers of two, since Llama's norms round to single precision whatever they are given.
BALANCERS: dict[str, Balancer] = {
    "Fixed": Fixed({"causal": 4.0, "masked": 0.25, "order": 1.0}),
    "Uncertainty": Uncertainty(0.05),
    "GradNorm": GradNorm(),
    "UPGrad": TorchJD("UPGrad"),
    "CurriculumUPGrad": Curriculum(Stages({"order": [[0, 0.5], [1, 1.0]]}), TorchJD("UPGrad")),
}


class Numbers(DummyLogger):
    """Keeps what is logged of gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[int, dict[str, float]] = {}

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        own = {key: value for key, value in metrics.items() if key.startswith("gradients/")}
        if own:
            assert step is not None and step not in self.rows
            self.rows[step] = own


class Step(Callback):
    """The model before the first step, and the micro-batches that it is made of."""

    def __init__(self) -> None:
        self.module: Any = None
        self.batches: list[Any] = []
        self.watched: list[bool] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self.module is None:
            values = {name: p.detach().clone() for name, p in pl_module.named_parameters()}
            self.module, self.values = pl_module, values
        if trainer.global_step == 0:
            self.batches.append(batch)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if pl_module.last_step is not None:
            self.watched.append(pl_module.last_step.gradients is not None)

    def gradients(self) -> dict[str, Tensor]:
        """The oracle: one backward for each objective's loss over the last block's parameters."""
        with torch.no_grad():
            for name, parameter in self.module.named_parameters():
                parameter.copy_(self.values[name])
        parameters = list(self.module.backbone.layers[-1].parameters())
        found = {}
        for name in self.module.names:
            loss = sum(
                self.module.forward_views(batch.views)[name].loss_sums["loss"] / batch.totals[name]["loss"]
                for batch in self.batches
            )
            found[name] = torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])
        return found


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("name", BALANCERS)
def test_cosines_and_norms_are_autograds(name: str, accumulate: int, text: Path, tmp_path: Path) -> None:
    step, numbers = Step(), Numbers()
    fit(
        text,
        tmp_path,
        [GradientConflict(2), step],
        balancer=copy.deepcopy(BALANCERS[name]),
        logger=numbers,
        precision="64-true",
        accumulate_grad_batches=accumulate,
        max_steps=1,
    )
    gradients = step.gradients()
    expected = {f"gradients/{name}/norm": float(g.norm()) for name, g in gradients.items()}
    for (a, g), (b, h) in combinations(gradients.items(), 2):
        expected[f"gradients/{a}/{b}/cosine"] = float(g @ h / (g.norm() * h.norm()))
    assert len(step.batches) == accumulate
    assert numbers.rows == {0: pytest.approx(expected, rel=1e-10, abs=1e-13)}
    assert imread(tmp_path / "gradient_conflict.png").ndim == 3


def test_objectives_on_one_view_are_told_apart(text: Path, tmp_path: Path) -> None:
    step, numbers = Step(), Numbers()
    shared = {"order": SentenceOrder(), "masked": MaskedLM(shares_rows_with="order")}
    settings: dict[str, Any] = {"logger": numbers, "precision": "64-true", "max_steps": 1}
    fit(text, tmp_path, [GradientConflict(), step], objectives=shared, **settings)
    for name, gradient in step.gradients().items():
        assert numbers.rows[0][f"gradients/{name}/norm"] == pytest.approx(float(gradient.norm()), rel=1e-10)


def test_every_n_steps_whatever_else_is_logged_when(text: Path, tmp_path: Path) -> None:
    step, numbers = Step(), Numbers()
    fit(text, tmp_path, [GradientConflict(2), step], logger=numbers, log_every_n_steps=5)
    assert list(numbers.rows) == [0, 2, 4]
    assert step.watched == [True, False, True, False, True, False]


@pytest.mark.parametrize("balancer", [Fixed(), GradNorm()])
def test_nothing_is_kept_when_it_is_off(balancer: Balancer, text: Path, tmp_path: Path) -> None:
    step = Step()
    fit(text, tmp_path, [step], balancer=copy.deepcopy(balancer), max_steps=2)
    assert step.watched == [False, False]


def test_looking_leaves_the_training_alone(text: Path, tmp_path: Path) -> None:
    """Oracle: the same run unwatched, whose passes are merged; equal but for rounding."""
    plain, watched = Step(), Step()
    for callbacks in ([plain], [GradientConflict(1), watched]):
        fit(text, tmp_path, callbacks, precision="64-true")
    for one, other in zip(plain.module.parameters(), watched.module.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_an_objective_that_is_out_is_left_out(text: Path, tmp_path: Path) -> None:
    numbers = Numbers()
    balancer = Curriculum(Stages({"order": [[0, 0.0], [3, 0.0], [4, 1.0]]}))
    fit(text, tmp_path, [GradientConflict(5)], balancer=balancer, logger=numbers)
    assert set(numbers.rows[0]) == {"gradients/causal/norm", "gradients/masked/norm", "gradients/causal/masked/cosine"}
    assert len(numbers.rows[5]) == 6


def test_a_resumed_run_draws_the_whole_of_it(text: Path, tmp_path: Path) -> None:
    whole, again = GradientConflict(2), GradientConflict(2)
    keep = ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, every_n_train_steps=1)
    fit(text, tmp_path, [whole, keep])
    fit(text, tmp_path, [again], resume=tmp_path / "step=3.ckpt")
    assert again.state_dict() == whole.state_dict()
    assert list(again.state_dict()["measured"]) == [0, 2, 4]


def test_cosines_and_norms() -> None:
    gradients = torch.tensor([[3.0, 4.0], [-8.0, 6.0], [0.0, 0.0], [-6.0, -8.0]])
    cosines, norms = cosines_and_norms(gradients)
    nan = math.nan
    expected = torch.tensor([[1.0, 0, nan, -1], [0, 1, nan, 0], [nan] * 4, [-1, 0, nan, 1]])
    torch.testing.assert_close(cosines, expected, equal_nan=True)
    torch.testing.assert_close(norms, torch.tensor([5.0, 10.0, nan, 10.0]), equal_nan=True)


def test_the_picture_goes_to_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, list[str]]] = []

    class Images(WandbLogger):
        def __init__(self) -> None:
            self.log_image = lambda key, images: sent.append((key, images))  # type: ignore[method-assign]

    conflict = GradientConflict()
    nan = math.nan
    conflict.load_state_dict({"measured": {0: ([[1.0, nan], [nan, nan]], [1.0, nan])}})
    trainer = L.Trainer(accelerator="cpu", default_root_dir=tmp_path, logger=False)
    trainer._loggers = [Images()]
    monkeypatch.setattr(Images, "save_dir", str(tmp_path))
    conflict.on_fit_end(trainer, SimpleNamespace(names=("causal", "order")))
    assert sent == [("gradients/conflict", [str(tmp_path / "gradient_conflict.png")])]


def test_looks_are_at_least_a_step_apart() -> None:
    with pytest.raises(ValueError, match=r"GradientConflict expects every_n_steps of at least 1, found 0: raise it"):
        GradientConflict(0)
