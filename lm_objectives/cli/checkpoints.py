"""Which checkpoint a command reads: the last one of its run, that of a path, or none."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch.callbacks import ModelCheckpoint

from lm_objectives.callbacks.interrupt import last_checkpoint
from lm_objectives.cli.arguments import Setting
from lm_objectives.errors import InputError, expect

_NEAR = 3  # other checkpoints that are named


def check_beginning(command: str, settings: Iterable[Setting]) -> None:
    """Raise where a command line asks for two beginnings of a run, or for weights where nothing trains.

    `weights` in a config file is of no account next to `--ckpt_path`: the run's own `config.yaml` has it.
    """
    given = {s.key: s.file for s in settings if s.key in ("weights", "ckpt_path") and s.value not in (None, "null")}
    by_flag = given.get("weights", Path()) is None
    expect(command == "fit" or not by_flag, f"no --weights for {command}", "one", "--ckpt_path is what it reads")
    if "ckpt_path" in given and (by_flag or given.get("weights") == given["ckpt_path"] is not None):
        raise InputError(
            "expected either --ckpt_path or --weights, found both: --ckpt_path goes on with a run, --weights begins a "
            "new one with the weights of another"
        )


def find_checkpoint(path: str | None, trainer: L.Trainer, goes_on: bool) -> str | None:
    """The checkpoint's path for `--ckpt_path`, where `last` is the last one that this run has saved.

    Args:
        path: as it was given.
        trainer: of the run.
        goes_on: whether it trains.

    Raises:
        InputError: where the run has none; those that lie near are named.
    """
    if path in (None, "hpc") and goes_on:
        path = _find_hpc(trainer, path)
    if path != "last":
        return path
    if saved := saved_last(trainer):
        return str(saved)
    expected = last_checkpoint(trainer)
    mend = "leave --ckpt_path out to start" if goes_on else "give the path of one"
    near = _find_near(Path(trainer.default_root_dir))
    if near:
        mend = (
            f"{mend}, or one of those near: {', '.join(near)}"
            if goes_on
            else f"give one of those near: {', '.join(near)}"
        )
    raise InputError(f"expected a checkpoint of this run at {expected}, found none: {mend}")


def saved_last(trainer: L.Trainer) -> Path | None:
    """The last checkpoint that a run has saved as `last`."""
    expected = last_checkpoint(trainer)
    saved = {file for folder in _folders(trainer, expected.parent) for file in folder.glob("last*.ckpt")}
    return max(saved, key=lambda file: (file.stat().st_mtime, file == expected), default=None)


def _find_hpc(trainer: L.Trainer, path: str | None) -> str | None:
    """The checkpoint that Lightning alone saves when a SLURM job is requeued, `hpc_ckpt_N.ckpt`, if it is asked for.

    Raises:
        InputError: where Lightning would go on from one by itself, or there is none.
    """
    found: str | None = trainer._checkpoint_connector._hpc_resume_path
    root = trainer.default_root_dir
    if path == "hpc":
        mend = "--ckpt_path last is the last of this run"
        expect(found is not None, f"a checkpoint hpc_ckpt_N.ckpt in {root}", "none", mend)
        return found
    mend = f"move it away to begin a new run, or go on from it with --ckpt_path {found}"
    expect(found is None or not SLURMEnvironment.detect(), f"no checkpoint of another run in {root}", found, mend)
    return None


def _folders(trainer: L.Trainer, first: Path) -> set[Path]:
    """Where the run's callbacks save."""
    callbacks: Sequence[Any] = trainer.checkpoint_callbacks
    return {first, *(Path(c.dirpath) for c in callbacks if isinstance(c, ModelCheckpoint) and c.dirpath)}


def _find_near(root: Path) -> list[str]:
    """Checkpoints in the folder of a run, or in the folders next to it, the latest first."""
    found = (
        list(root.rglob("last*.ckpt")) or list(root.rglob("*.ckpt")) or list(root.parent.glob("*/checkpoints/*.ckpt"))
    )
    return [os.path.relpath(file) for file in sorted(found, key=lambda file: -file.stat().st_mtime)[:_NEAR]]
