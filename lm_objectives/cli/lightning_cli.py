"""LightningCLI of `fit`, `validate` and `prepare`: parse, check everything, hold the run's folder, run."""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.plugins.io import CheckpointIO
from lightning.pytorch.trainer import Trainer

import lm_objectives.balancers
import lm_objectives.objectives  # noqa: F401 (makes short class names known)
from lm_objectives.callbacks.curves import Curves
from lm_objectives.callbacks.final_evaluation import EvaluationSettings, FinalEvaluation
from lm_objectives.callbacks.finish import EarlyEndCheckpoint, FinalCheckpoint, FinalValidation, how_it_ended
from lm_objectives.callbacks.initial_weights import InitialWeights
from lm_objectives.callbacks.interrupt import GracefulInterrupt
from lm_objectives.callbacks.keep_folder import KeepFolder
from lm_objectives.callbacks.progress import Progress
from lm_objectives.callbacks.throughput import Throughput
from lm_objectives.callbacks.validation_table import ValidationTable
from lm_objectives.cli.arguments import Parser, check_known, expand_home, read_settings, reset_changed_plugins
from lm_objectives.cli.checkpoints import check_beginning, find_checkpoint, saved_last
from lm_objectives.cli.checks import check_user_classes, preflight
from lm_objectives.cli.configs import resolve_names
from lm_objectives.cli.dropped_objectives import drop_objectives
from lm_objectives.cli.ranks import watch_ranks
from lm_objectives.cli.save_config import SaveConfig
from lm_objectives.data.datamodule import TextDataModule
from lm_objectives.data.preparation.summary import summary
from lm_objectives.data.trainer import check_strategy_name
from lm_objectives.errors import expect
from lm_objectives.training.checkpoint import AtomicCheckpointIO
from lm_objectives.training.loggers import Tracking
from lm_objectives.training.module import Pretraining
from lm_objectives.training.run_folder import RunFolder

_log = logging.getLogger("lm_objectives")

PROGRAM = "lm-objectives"

_DEFAULTS: dict[str, Any] = {  # of the trainer, where Lightning's own suit epochs and vision
    "log_every_n_steps": 10,
    "val_check_interval": 200,  # micro-batches, whatever an epoch has
    "check_val_every_n_epoch": None,
    "num_sanity_val_steps": 0,
    "enable_model_summary": False,
}

_USAGE = {"usage": "%(prog)s [--config FILE ...] [--SETTING VALUE ...]"}

_WEIGHTS = (
    "Checkpoint whose weights a new run begins with: the backbone, and heads by their objectives' names; fit alone. "
    "Steps, schedule, optimizer, balancer and rows begin anew."
)


class Runner(Trainer):
    """Lightning's Trainer, with all of its settings."""

    def prepare(self, model: Pretraining, datamodule: TextDataModule) -> None:  # LightningCLI: a method is a command
        """Read, split and tokenize the corpus as `fit` would, and print a summary."""
        datamodule.open(model.sources, model.backbone.supports_packing, self)
        print(summary(datamodule.text, datamodule.training_rows()))


class CLI(LightningCLI):
    """`fit`, `validate` and `prepare`, each setting in YAML, by flag and in `--print_config`."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {
            "fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule", "weights_only"},
            "validate": {"model", "dataloaders", "datamodule", "weights_only", "verbose"},
            "prepare": {"model", "datamodule"},
        }

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        command, *rest = args
        rest = resolve_names(rest)
        expect(bool(rest), "settings", "none", "give a --config, for example quickstart")
        settings = list(read_settings(rest))
        check_known(settings, self._parser(command).keys())  # type: ignore[attr-defined]
        check_user_classes(settings)
        check_beginning(command, settings)
        rest = reset_changed_plugins(rest, settings)
        if any(s.value is None and s.key.startswith("model.objectives.") for s in settings):
            rest = drop_objectives(rest)
        self.config = expand_home(parser.parse_args([command, *rest]))

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_class_arguments(Tracking, "tracking")
        parser.add_class_arguments(EvaluationSettings, "evaluation")
        parser.add_argument("--weights", type=str | None, help=_WEIGHTS)

    def _parse_ckpt_path(self) -> None:
        """Leave the configuration to the user: a checkpoint's is not mixed in."""

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        kwargs = super()._prepare_subcommand_kwargs(subcommand)
        if subcommand != "prepare":
            kwargs["ckpt_path"] = self._checkpoint
        return {**kwargs, "verbose": False} if subcommand == "validate" else kwargs  # `ValidationTable`'s is enough

    def _set_seed(self) -> None:
        seed = self._get(self.config, "seed_everything")
        mend = "choose one of these"
        expect(isinstance(seed, bool) or 0 <= seed < 2**32, "seed_everything from 0 to 4294967295", seed, mend)
        super()._set_seed()

    def before_instantiate_classes(self) -> None:
        root = self._get(self.config, "trainer").get("default_root_dir") or "runs"
        if self.subcommand != "prepare":  # which writes no run
            _check_folder(root)
        self._folder = RunFolder(root)
        self._comes_again = self.subcommand == "fit" and self._folder.is_requeued()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        if self.subcommand != "fit":
            self.save_config_callback = None
        if self.subcommand == "prepare":  # on whatever machine, also one without what the training will have
            kwargs |= {"accelerator": "cpu", "devices": 1, "num_nodes": 1, "strategy": "auto", "precision": None}
            kwargs |= {"plugins": None, "callbacks": [], "logger": False, "enable_checkpointing": False}
            return super().instantiate_trainer(**kwargs)
        trainer: Namespace = self._get(self.config_init, "trainer")
        check_strategy_name(trainer.strategy)
        root = trainer.default_root_dir = trainer.default_root_dir or "runs"
        if trainer.barebones:  # which measures Lightning alone
            kwargs |= {"logger": False, "log_every_n_steps": 0}
            return super().instantiate_trainer(**kwargs)
        final = FinalCheckpoint()
        own: list[Any] = [FinalValidation(), Throughput(), GracefulInterrupt(self._folder), final]
        if trainer.enable_progress_bar is not False:
            own.append(Progress())
        plugins, given = _as_list(trainer.plugins), _as_list(trainer.callbacks)
        first = [EarlyEndCheckpoint(final)] if self.subcommand == "fit" else []
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            kwargs["plugins"] = [*plugins, AtomicCheckpointIO()]
        if self.subcommand == "fit":
            own += [Curves(), FinalEvaluation(self._evaluation()), KeepFolder(self._folder)]
            if weights := self._weights():
                own.append(InitialWeights(weights))
            keeps = trainer.enable_checkpointing is not False and not trainer.fast_dev_run
            if keeps and not any(isinstance(c, ModelCheckpoint) for c in given):
                own.append(ModelCheckpoint(save_last=True, enable_version_counter=False))
        else:
            own.append(ValidationTable())
        if self.subcommand == "validate" or trainer.fast_dev_run:
            kwargs["logger"] = False
        elif trainer.logger in (None, True):
            tracking: Tracking = self._get(self.config_init, "tracking")
            kwargs["logger"] = tracking.loggers(root, resumes=self._goes_on())
        try:
            made = super().instantiate_trainer(callbacks=[*first, *given, *own], **kwargs)
        except (TypeError, ValueError, OverflowError) as error:
            raise MisconfigurationException(str(error)) from error
        watch_ranks(made)
        return made

    def _run_subcommand(self, subcommand: str) -> None:
        try:
            super()._run_subcommand(subcommand)
        finally:
            self._folder.release()

    def before_fit(self) -> None:
        self._preflight(self._weights())
        self._evaluation().check(dict(self.model.objectives.items()))
        if self.trainer.is_global_zero and not self._get(self.config, "trainer").fast_dev_run:
            self._folder.hold()  # nothing refuses the run any more, and nothing is written yet

    def _evaluation(self) -> EvaluationSettings:
        """What the run is evaluated on at its end."""
        settings: EvaluationSettings = self._get(self.config_init, "evaluation")
        return settings

    def before_validate(self) -> None:
        self._preflight(None)
        if self._checkpoint is None and self.trainer.is_global_zero:
            folder = self.model.backbone.pretrained
            what = f"the weights of {folder}, as they are" if folder else "an untrained model"
            _log.info("no --ckpt_path: what is scored is %s", what)

    def _goes_on(self) -> bool:
        """Whether a run goes on that began before."""
        return self._comes_again or bool(self._get(self.config, "ckpt_path"))

    def _weights(self) -> str | None:
        """The checkpoint that a new run begins with."""
        return None if self._get(self.config, "ckpt_path") else self._get(self.config, "weights")

    def _preflight(self, weights: str | None) -> None:
        trains = self.subcommand == "fit"
        path = self._get(self.config, "ckpt_path")
        if self._comes_again and saved_last(self.trainer):
            path = "last"  # what it has trained since, whatever its command began with
            _log.info("the job was requeued: its run in %s goes on", self._folder.root)
        self._checkpoint = find_checkpoint(path, self.trainer, trains)
        read = None if self._checkpoint == "registry" else self._checkpoint  # Lightning finds this itself
        preflight(self.model, self.datamodule, self.trainer, read, None if read else weights, goes_on=trains)

    def after_fit(self) -> None:
        for logger in self.trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.experiment.finish()  # or the next run of this process would go on in it
        if self.trainer.is_global_zero and not self.trainer.interrupted:
            print(f"run folder: {self.trainer.default_root_dir}; {how_it_ended(self.trainer)}", file=sys.stderr)


def make_cli(
    command: str, arguments: Sequence[str], kind: type[CLI] = CLI, trainer_class: type[Runner] = Runner
) -> CLI:
    """Parse the arguments of `fit`, `validate` or `prepare`, and run it."""
    return kind(
        Pretraining,
        TextDataModule,
        trainer_class=trainer_class,
        trainer_defaults=_DEFAULTS,
        save_config_callback=SaveConfig,
        save_config_kwargs={"save_to_log_dir": False},
        seed_everything_default=0,
        parser_class=Parser,
        parser_kwargs={"prog": PROGRAM, "allow_abbrev": False} | {name: _USAGE for name in CLI.subcommands()},
        auto_configure_optimizers=False,
        load_from_checkpoint_support=False,
        args=[command, *arguments],
    )


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _check_folder(path: str) -> None:
    """Raise an `InputError` where a run cannot be written to a folder."""
    folder = Path(path).absolute()
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    expected = f"a folder to write to at trainer.default_root_dir {path}"
    expect(there.is_dir() and os.access(there, os.W_OK), expected, f"{there} not writable", "choose another")
