"""A run that is killed and resumed again and again leaves the checkpoints of the run that was left alone.

What a resumed run saves, a later one begins with: where all checkpoints after one resume are those of the whole run,
Lightning's counts and the rows still to log included, those after any number of them are.
"""

import shutil
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
from lightning.pytorch.callbacks import ModelCheckpoint
from utils.exactness_kills import differing_bits
from utils.exactness_runs import Run, make_data, make_module, quiet, tensors_in

from lm_objectives.callbacks.finish import FinalValidation
from lm_objectives.training.checkpoint import read_checkpoint
from lm_objectives.training.loggers import MetricsTable, RunCSVLogger

EPOCH, EPOCHS = 6, 2  # steps of a bookkeeping epoch of the tiny corpus
BY_STEPS = {"check_val_every_n_epoch": None}
SETTINGS: dict[str, dict[str, Any]] = {
    "short": {"max_epochs": 3, "limit_train_batches": 2, "limit_val_batches": 0},
    "validation by steps": {"max_steps": EPOCH * EPOCHS, "val_check_interval": 4, **BY_STEPS},
    "accumulated steps": {"max_steps": EPOCH * EPOCHS, "accumulate_grad_batches": 2},
    "a share of accumulated": {"max_epochs": EPOCHS, "limit_train_batches": 0.5, "accumulate_grad_batches": 2},
}


def fit(name: str, folder: Path, root: Path, resume: Path | None = None) -> dict[str, Path]:
    """Train; returns the checkpoints of all steps and epochs by their names."""
    run = Run(precision="32-true")
    callbacks = [
        FinalValidation(),
        ModelCheckpoint(root / "steps", "{step}", every_n_train_steps=1, save_top_k=-1),
        ModelCheckpoint(root / "epochs", "{epoch}", save_on_train_epoch_end=True, save_top_k=-1),
    ]
    with quiet():
        trainer = L.Trainer(
            accelerator="cpu",
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            logger=RunCSVLogger(str(root)),
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=callbacks,
            **{"limit_val_batches": 2} | SETTINGS[name],
        )
        trainer.fit(make_module(run), make_data(run, folder), ckpt_path=resume)
    return {f"{path.parent.name}/{path.stem}": path for path in root.glob("*/*.ckpt")}


def state(path: Path) -> dict[str, Any]:
    """All numbers of a checkpoint but those that a resume overwrites: a validation pass is begun anew."""
    checkpoint, saved = read_checkpoint(str(path))
    parts = ("loops", "state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step")
    numbers = tensors_in({part: checkpoint[part] for part in parts} | {"pending": vars(saved.pending)})
    return {name: number for name, number in numbers.items() if "val_loop" not in name}


def moment(name: str, numbers: dict[str, Any]) -> tuple[int, bool]:
    """When a checkpoint was saved: an epoch is ended after its last step."""
    return int(numbers["/global_step"]), name.startswith("epochs")


@pytest.mark.parametrize("name", ["short", *(pytest.param(n, marks=pytest.mark.slow) for n in [*SETTINGS][1:])])
def test_checkpoints_after_a_resume_are_those_of_the_whole_run(name: str, folder: Path, tmp_path: Path) -> None:
    whole = fit(name, folder, tmp_path / "whole")
    rows, states = MetricsTable(tmp_path / "whole" / "metrics.csv").read(), {n: state(p) for n, p in whole.items()}
    for number, (saved, path) in enumerate(whole.items()):
        root = tmp_path / f"resumed {number}"
        root.mkdir()
        shutil.copy(tmp_path / "whole" / "metrics.csv", root)
        resumed = fit(name, folder, root, path)
        later = [other for other in whole if moment(other, states[other]) > moment(saved, states[saved])]
        for other in later:  # in the middle of an accumulated step Lightning may save once more what it had resumed
            assert differing_bits(state(resumed[other]), states[other]) == {}, (saved, other)
        assert MetricsTable(root / "metrics.csv").read() == rows, saved
