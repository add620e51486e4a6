"""Write and read checkpoints: plain data and tensors, of which nothing is executed."""

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from torch import Tensor

from lm_objectives.errors import InputError, RunError, expect
from lm_objectives.files import atomic_write, explain_os_error
from lm_objectives.training.resume import PendingWork, find_pending
from lm_objectives.views import Vocabulary

if TYPE_CHECKING:
    from lm_objectives.training.schema import Use

_KEY = "lm_objectives"
_FORMAT = "0.2"


@dataclass(frozen=True)
class SavedState:
    """What a checkpoint holds of a run that Lightning does not know of; `schema` has the range of each key.

    Attributes:
        architecture: of the backbone, as `Backbone.load_architecture` takes it.
        vocabulary: token ids of the tokenizer.
        seq_len: tokens in a row, at most.
        steps: optimizer steps in the whole training, -1 where nothing bounds it.
        seed: of all random numbers.
        lr: learning rate in place of the optimizer's own, `None` where that holds.
        tokens_read: tokens of all steps so far.
        steps_skipped: steps so far that were not finite.
        recent_skips: those of the last 100 steps that were, but for those of a gradient scaler.
        target_counts: by objective, how often each target is right in training rows, for those that have baselines.
        activity: from which steps on which objectives read rows, see `data.plan.ActivityLog`.
        pending: what Lightning had still to do, `None` without a Trainer.
        tokenizer: files of the tokenizer, `None` where there never was a data module.
        cache: folder of the token cache, `None` without a data module.
        experiment: its settings, see `training.experiment`; `None` outside of a training.
    """

    architecture: dict[str, Any]
    vocabulary: Vocabulary
    seq_len: int
    steps: int
    seed: int
    lr: float | None
    tokens_read: int
    steps_skipped: int
    recent_skips: list[int]
    target_counts: dict[str, Tensor]
    activity: list[tuple[int, tuple[str, ...]]]
    pending: PendingWork | None
    tokenizer: dict[str, str] | None
    cache: str | None
    experiment: dict[str, Any] | None

    @classmethod
    def of(cls, module: Any) -> "SavedState":
        """The state of a `Pretraining` module and of its Trainer, if it has one."""
        trainer, data = module._trainer, getattr(module._trainer, "datamodule", None)
        own = (
            "vocabulary",
            "seq_len",
            "steps",
            "seed",
            "lr",
            "tokens_read",
            "steps_skipped",
            "recent_skips",
            "experiment",
        )
        return cls(
            **{name: getattr(module, name) for name in own},
            architecture=module.backbone.architecture(),
            target_counts={n: o.target_counts for n, o in module.objectives.items() if o.target_counts is not None},
            activity=module.activity.entries,
            pending=None if trainer is None else find_pending(trainer),
            tokenizer=module.tokenizer_files,
            cache=None if data is None else str(data.text.folder),
        )

    def write(self, checkpoint: dict[str, Any]) -> None:
        """Add this to a checkpoint, as plain data."""
        pending = None if self.pending is None else vars(self.pending)
        plain = {"format": _FORMAT, "vocabulary": self.vocabulary.to_dict(), "pending": pending}
        checkpoint[_KEY] = vars(self) | plain

    @classmethod
    def read(cls, checkpoint: Mapping[str, Any], path: str = "", use: "Use" = "module") -> "SavedState":
        """Take this from a checkpoint, of which all that is read for a use is checked.

        Args:
            checkpoint: as Lightning loads it.
            path: its file, for the message.
            use: what it is read for.

        Raises:
            InputError: where it is not of this package, of another version of it, or not as it was written.
        """
        from lm_objectives.training.schema import check_schema  # imports pydantic, which a command may do without

        where = f" at {path}" if path else ""
        saved = checkpoint.get(_KEY)
        if not isinstance(saved, Mapping):
            raise InputError(f"expected a checkpoint of lm-objectives{where}, found another one: check the path")
        version, mend = saved.get("format", "0.1"), "train anew, or use the version that wrote it"
        expect(version == _FORMAT, f"a checkpoint of lm-objectives {_FORMAT}{where}", f"one of {version}", mend)
        check_schema(checkpoint, use, where)
        own = {field.name: saved[field.name] for field in fields(cls) if field.name in saved}
        pending = saved["pending"] and PendingWork(**saved["pending"])
        return cls(**own | {"vocabulary": Vocabulary.from_dict(saved["vocabulary"]), "pending": pending})


def read_checkpoint(path: Any, use: "Use" = "file") -> tuple[dict[str, Any], SavedState]:
    """Read a checkpoint of this package with `weights_only`: all of it, and what the package keeps in it.

    Args:
        path: its file; may be elsewhere, as fsspec reads it, or open.
        use: what it is read for.

    Raises:
        InputError: when the file is missing or anything else.
    """
    file, remote = path, not isinstance(path, (str, os.PathLike))
    if not remote and "://" in str(path):
        file, remote = fsspec.open(str(path), "rb").open(), True
    if not remote:
        file = Path(path).expanduser()
        expect(file.is_file(), f"a checkpoint at {path}", "no such file", "check the path")
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True, mmap=not remote)
    except Exception as error:  # a file of another kind may raise any
        kind = "a file of another kind" if remote or not _is_cut(file) else "one that is cut off or damaged"
        raise InputError(f"expected a checkpoint at {path}, found {kind}: check the path") from error
    if remote:
        file.seek(0)  # for whoever reads it next
    checkpoint = checkpoint if isinstance(checkpoint, dict) else {}
    return checkpoint, SavedState.read(checkpoint, str(path), use)


def _is_cut(file: Path) -> bool:
    with file.open("rb") as start:
        return start.read(2) == b"PK" and not zipfile.is_zipfile(file)


def shapes_of(state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shapes in a state dict by name; of what is no tensor an empty one."""
    return {name: tuple(getattr(value, "shape", ())) for name, value in state.items()}


def check_same_shapes(own: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    """Raise where a checkpoint's state dict has other names or shapes than `own`."""
    here, there = shapes_of(own), shapes_of(saved)
    for name in [*here, *there]:
        mend = (
            f"{name} is {here.get(name, 'nothing')} in the model and {there.get(name, 'nothing')} in the checkpoint; "
            "give the configuration that the checkpoint was trained with"
        )
        expect(here.get(name) == there.get(name), "a checkpoint of this model", "one of another", mend)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint next to the one that it replaces, and renames it.

    Lightning writes to the system's folder for temporary files and moves, which is a copy where that is another disk:
    a process killed in the middle leaves half a `last.ckpt` where the whole one was.

    Raises:
        RunError: where a file cannot be written; the one before stays as it is.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        try:
            with atomic_write(Path(path)) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:  # torch's writer hides the system's error in the context of its own
            reason = error if isinstance(error, OSError) else error.__context__
            if not isinstance(reason, OSError):
                raise
            reason.filename = str(path)
            before = "--ckpt_path last goes on from the checkpoint before"
            raise RunError(f"{explain_os_error(reason)}; {before}") from error
