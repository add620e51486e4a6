"""From every checkpoint that a run can leave, the rows of metrics.csv go on as if nothing had happened.

Lightning saves at the end of a micro-batch before it logs and validates, and after a validation pass; a killed process
has then written anything from nothing more to all that the next ones will write again.
"""

import shutil
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from utils.exactness_runs import Run, make_data, make_module, quiet

from lm_objectives.callbacks.finish import FinalValidation
from lm_objectives.callbacks.throughput import Throughput
from lm_objectives.training.checkpoint import AtomicCheckpointIO
from lm_objectives.training.loggers import MetricsTable, RunCSVLogger

STEPS, EPOCH = 10, 4
# Each validates and saves at moments of its own; epochs end at steps 4 and 8.
SETTINGS: dict[str, dict[str, Any]] = {
    "steps": {"val_check_interval": 3, "check_val_every_n_epoch": None},
    "half epochs": {"val_check_interval": 0.5},
    "epochs": {},
    "in the middle of steps": {"val_check_interval": 3, "check_val_every_n_epoch": None, "accumulate_grad_batches": 2},
}
QUICK = {"steps", "epochs"}


class Keep(AtomicCheckpointIO):
    """Copies each checkpoint that is saved, and the table as it is then."""

    def __init__(self, place: Path) -> None:
        self.place, self.saved = place, list[Path]()

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        super().save_checkpoint(checkpoint, path, storage_options)
        self.saved.append(self.place / f"{len(self.saved)} {Path(path).parent.name} {checkpoint['global_step']}")
        self.saved[-1].mkdir()
        for file in (Path(path), Path(path).parents[1] / "metrics.csv"):
            if file.exists():
                shutil.copy(file, self.saved[-1] / ("it.ckpt" if file.suffix == ".ckpt" else file.name))


def fit(name: str, folder: Path, root: Path, resume: Path | None = None, keep: Keep | None = None) -> EarlyStopping:
    """Train in the run's folder `root`; returns a callback that counts."""
    run, accumulate = Run(backbone="dropout", precision="32-true"), SETTINGS[name].get("accumulate_grad_batches", 1)
    stop = EarlyStopping("val/masked/loss", patience=99)
    callbacks = [
        FinalValidation(),
        Throughput(),
        stop,
        ModelCheckpoint(root / "steps", "{step}", every_n_train_steps=1, save_top_k=-1),
        ModelCheckpoint(root / "passes", "{step}", monitor="val/masked/loss", save_top_k=-1),
    ]
    with quiet():
        trainer = L.Trainer(
            accelerator="cpu",
            max_steps=STEPS,
            limit_train_batches=EPOCH * accumulate,
            limit_val_batches=2,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            logger=RunCSVLogger(str(root)),
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=callbacks,
            plugins=[keep] if keep else [],
            **SETTINGS[name],
        )
        trainer.fit(make_module(run), make_data(run, folder), ckpt_path=resume)
    return stop


def rows(root: Path) -> list[dict[str, str]]:
    return [{key: row[key] for key in row if key != "train/tokens_per_second"} for row in read(root)]


def read(root: Path) -> list[dict[str, str]]:
    return MetricsTable(root / "metrics.csv").read()


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in QUICK)) for n in SETTINGS])
def test_rows_go_on_from_every_checkpoint(name: str, folder: Path, tmp_path: Path) -> None:
    """Oracle: the table of the run that was not stopped, and what a callback that looks at it has counted."""
    keep = Keep(tmp_path)
    counted = fit(name, folder, tmp_path / "whole", keep=keep).state_dict()
    whole = rows(tmp_path / "whole")
    passes = [row for row in whole if "val/masked/loss" in row]
    assert len(whole) - len(passes) == STEPS and passes and len(keep.saved) > STEPS
    for number, saved in enumerate(keep.saved):
        root = tmp_path / f"resumed {number}"
        root.mkdir()
        table = saved if number % 2 else tmp_path / "whole"  # as the next moment finds it, or the last
        if (table / "metrics.csv").exists():
            shutil.copy(table / "metrics.csv", root)
        stop = fit(name, folder, root, resume=saved / "it.ckpt")
        assert rows(root) == whole, saved.name
        assert stop.state_dict() == counted, saved.name
