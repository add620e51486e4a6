"""Begin a run's folder, and write its configuration there."""

from pathlib import Path
from typing import Any

from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.trainer import Trainer

from lm_objectives.files import atomic_write
from lm_objectives.plugin import to_config
from lm_objectives.training.loggers import RunCSVLogger, save_run_id
from lm_objectives.training.run_folder import archive_previous_run


class SaveConfig(SaveConfigCallback):
    """Begins a run's folder once nothing can refuse it any more: sets a previous run aside and writes `config.yaml`,
    without the checkpoint that was resumed from, and gives it to the loggers."""

    def setup(self, *_: Any, **__: Any) -> None:
        """Nothing: a run that is refused leaves the folder as it is."""

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        super().setup(trainer, pl_module, "fit")

    def save_config(self, trainer: Any, pl_module: Any, stage: str) -> None:
        root = Path(trainer.default_root_dir)
        archive = archive_previous_run(root) if trainer.global_step == 0 and not self.config.ckpt_path else None
        config = self.config.clone()
        config.ckpt_path = None
        config.pop("config", None)
        weights = Path(config.weights or "").expanduser().resolve()
        if archive and weights.is_relative_to(root.resolve()) and not weights.exists():  # it was of the previous run
            config.weights = str(archive / weights.relative_to(root.resolve()))
        with atomic_write(root / self.config_filename) as file:
            file.write(self.parser.dump(config, skip_unset=False).encode())
        save_run_id(str(root), trainer.loggers)
        for logger in trainer.loggers:
            if not isinstance(logger, RunCSVLogger):  # which has config.yaml next to its file
                logger.log_hyperparams(to_config(config.as_dict()))
