"""End a run whose folder was removed, or taken by another run."""

from typing import Any

import lightning.pytorch as L

from lm_objectives.training.run_folder import RunFolder


class KeepFolder(L.Callback):
    """Looks after each micro-batch, at most once a second, whether the run's folder is still there and this run's.

    Args:
        folder: of the run, held by this process.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    def on_train_batch_end(self, *_: Any) -> None:
        self.folder.check()

    def on_validation_start(self, *_: Any) -> None:
        self.folder.check()

    def on_train_end(self, *_: Any) -> None:
        self.folder.check()
