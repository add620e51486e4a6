"""The commands: LightningCLI for `fit`, `validate` and `prepare`, plain functions for the others."""

import logging
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.plugins.io import CheckpointIO
from lightning.pytorch.trainer import Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

import lm_objectives.balancers
import lm_objectives.objectives  # noqa: F401 (makes short class names known)
from lm_objectives.callbacks.curves import Curves
from lm_objectives.callbacks.finish import FinalCheckpoint, FinalValidation
from lm_objectives.callbacks.initial_weights import InitialWeights
from lm_objectives.callbacks.interrupt import GracefulInterrupt
from lm_objectives.callbacks.progress import Progress
from lm_objectives.callbacks.throughput import Throughput
from lm_objectives.callbacks.validation_table import ValidationTable
from lm_objectives.cli.arguments import Parser, check_known, read_settings, reset_changed_plugins
from lm_objectives.cli.checkpoints import check_beginning, find_checkpoint
from lm_objectives.cli.checks import check_user_classes, preflight
from lm_objectives.cli.configs import resolve_names
from lm_objectives.cli.messages import user_message
from lm_objectives.cli.save_config import SaveConfig
from lm_objectives.data.datamodule import TextDataModule
from lm_objectives.data.preparation.summary import summary
from lm_objectives.errors import expect
from lm_objectives.training.checkpoint import AtomicCheckpointIO
from lm_objectives.training.loggers import Tracking
from lm_objectives.training.module import Pretraining

PROGRAM = "lm-objectives"

_log = logging.getLogger("lm_objectives")

_DEFAULTS: dict[str, Any] = {  # of the trainer, where Lightning's own suit epochs and vision
    "log_every_n_steps": 10,
    "val_check_interval": 200,  # micro-batches, whatever an epoch has
    "check_val_every_n_epoch": None,
    "num_sanity_val_steps": 0,
    "enable_model_summary": False,
}

_WEIGHTS = (
    "Checkpoint whose weights a new run begins with: the backbone, and heads by their objectives' names; fit alone. "
    "Steps, schedule, optimizer, balancer and rows begin anew."
)

_USAGE = {"usage": "%(prog)s [--config FILE ...] [--SETTING VALUE ...]"}


def run(arguments: Sequence[str]) -> int:
    """Run a command; bad input is one line on stderr and exit code 2."""
    command, rest = arguments[0], list(arguments[1:])
    _quieten()
    try:
        if command in ("fit", "validate", "prepare"):
            _train(command, rest)
        else:
            _tool(command, rest)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except SIGTERMException:  # a SystemExit without a code, which would be success
        return 128 + signal.SIGTERM
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # Lightning turns the one into the other
            return 128 + signal.SIGINT
        raise
    except Exception as error:
        message = user_message(error)
        if message is None:
            raise  # a defect, whose traceback is wanted
        if os.environ.get("LOCAL_RANK", "0") == "0":
            print(f"{PROGRAM}: error: {message}", file=sys.stderr)
        return 2
    return 0


def _is_not_about_masks(record: logging.LogRecord) -> bool:
    """False for the advice to pass an `attention_mask`: rows here carry their lengths or their documents."""
    return "attention_mask" not in record.getMessage()


def _quieten() -> None:
    """Silence what libraries say on every run."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    logging.getLogger("transformers.modeling_utils").addFilter(_is_not_about_masks)
    logging.getLogger("lm_objectives").setLevel(logging.INFO)
    logging.getLogger("lm_objectives").handlers = [logging.StreamHandler()]  # to stderr as it is now
    for message in (
        ".*does not have many workers.*",
        ".*treespec.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*You are using `torch.load`.*",
        ".*Found .* module.s. in eval mode.*",
        ".*sync_dist=True.*",  # held-out metrics are those of all ranks already
    ):
        warnings.filterwarnings("ignore", message)


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
        self.config = parser.parse_args([command, *reset_changed_plugins(rest, settings)])

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_class_arguments(Tracking, "tracking")
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
        if self.subcommand != "prepare":  # which writes no run
            _check_folder(self._get(self.config, "trainer").get("default_root_dir") or "runs")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        if self.subcommand != "fit":
            self.save_config_callback = None
        if self.subcommand == "prepare":  # on whatever machine, also one without what the training will have
            kwargs |= {"accelerator": "cpu", "devices": 1, "num_nodes": 1, "strategy": "auto", "precision": None}
            kwargs |= {"plugins": None, "callbacks": [], "logger": False, "enable_checkpointing": False}
            return super().instantiate_trainer(**kwargs)
        trainer: Namespace = self._get(self.config_init, "trainer")
        root = trainer.default_root_dir = trainer.default_root_dir or "runs"
        if trainer.barebones:  # which measures Lightning alone
            kwargs |= {"logger": False, "log_every_n_steps": 0}
            return super().instantiate_trainer(**kwargs)
        own: list[Any] = [FinalValidation(), Throughput(), GracefulInterrupt(), FinalCheckpoint()]
        if trainer.enable_progress_bar is not False:
            own.append(Progress())
        plugins, given = _as_list(trainer.plugins), _as_list(trainer.callbacks)
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            kwargs["plugins"] = [*plugins, AtomicCheckpointIO()]
        if self.subcommand == "fit":
            own.append(Curves())
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
            kwargs["logger"] = tracking.loggers(root, resumes=bool(self._get(self.config, "ckpt_path")))
        try:
            return super().instantiate_trainer(callbacks=[*given, *own], **kwargs)
        except (TypeError, ValueError) as error:
            raise MisconfigurationException(str(error)) from error

    def before_fit(self) -> None:
        self._preflight(self._weights())

    def before_validate(self) -> None:
        self._preflight(None)
        if self._checkpoint is None and self.trainer.is_global_zero:
            folder = self.model.backbone.pretrained
            what = f"the weights of {folder}, as they are" if folder else "an untrained model"
            _log.info("no --ckpt_path: what is scored is %s", what)

    def _weights(self) -> str | None:
        """The checkpoint that a new run begins with."""
        return None if self._get(self.config, "ckpt_path") else self._get(self.config, "weights")

    def _preflight(self, weights: str | None) -> None:
        trains = self.subcommand == "fit"
        self._checkpoint = find_checkpoint(self._get(self.config, "ckpt_path"), self.trainer, trains)
        read = None if self._checkpoint in ("hpc", "registry") else self._checkpoint  # Lightning finds these itself
        preflight(self.model, self.datamodule, self.trainer, read, weights, goes_on=trains)

    def after_fit(self) -> None:
        for logger in self.trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.experiment.finish()  # or the next run of this process would go on in it
        if self.trainer.is_global_zero and not self.trainer.interrupted:
            print(f"run folder: {self.trainer.default_root_dir}", file=sys.stderr)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _check_folder(path: str) -> None:
    """Raise an `InputError` where a run cannot be written to a folder."""
    folder = Path(path).absolute()
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    expected = f"a folder to write to at trainer.default_root_dir {path}"
    expect(there.is_dir() and os.access(there, os.W_OK), expected, f"{there} not writable", "choose another")


def _train(command: str, arguments: list[str]) -> None:
    program, sys.argv = sys.argv, [sys.argv[0], command, *arguments]  # a DDP launcher starts the other ranks from it
    try:
        CLI(
            Pretraining,
            TextDataModule,
            trainer_class=Runner,
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
    finally:
        sys.argv = program


def _tool(command: str, arguments: list[str]) -> None:
    module = "cli.configs" if command == "configs" else f"{command}.command"
    function = getattr(import_module(f"lm_objectives.{module}"), command)
    if command == "configs" and arguments and not arguments[0].startswith("-"):
        arguments = ["--name", *arguments]
    parser = Parser(prog=f"{PROGRAM} {command}", description=(function.__doc__ or "").split("\n\n")[0])
    parser.add_function_arguments(function, as_group=False)
    for action in parser._actions:
        if action.default is False:  # a switch, which needs no value
            action.nargs, action.const = "?", True
    function(**parser.parse_args(arguments).as_dict())
