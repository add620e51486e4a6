"""Read the settings of a training, and make its parts, without beginning it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from lm_objectives.cli.lightning_cli import CLI, Runner, make_cli
from lm_objectives.cli.messages import user_message
from lm_objectives.comparison.planning.experiment import Experiment, ExperimentReader
from lm_objectives.comparison.study import Settings
from lm_objectives.data.datamodule import TextDataModule
from lm_objectives.errors import InputError
from lm_objectives.training.module import Pretraining


def read_experiment(arguments: Sequence[str]) -> Settings:
    """All settings that arguments of `fit` say.

    Raises:
        InputError: where they are wrong.
    """
    with _refused():
        made = make_cli("prepare", arguments, _Reading)
    text = made._parser("prepare").dump(made.config.prepare, skip_unset=False)
    settings: Settings = yaml.safe_load(text)
    settings.pop("config", None)
    return settings


def open_experiment(settings: Settings) -> Experiment:
    """The parts of a training with these settings; its corpus is prepared where it is not.

    Raises:
        InputError: where they do not fit one another.
    """
    with TemporaryDirectory() as folder, _refused():
        file = Path(folder) / "settings.yaml"
        file.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
        made = make_cli("prepare", ["--config", str(file)], trainer_class=_Opening)
    return Experiment(settings, made.model, made.datamodule)


@contextmanager
def _refused() -> Iterator[None]:
    """What the command line would say of settings, as an `InputError`."""
    try:
        yield
    except Exception as error:
        message = user_message(error)
        if message is None:
            raise
        raise InputError(message) from error


READER = ExperimentReader(read_experiment, open_experiment)


class _Reading(CLI):
    """Parses, and makes nothing."""

    def before_instantiate_classes(self) -> None: ...

    def instantiate_classes(self) -> None: ...

    def _run_subcommand(self, subcommand: str) -> None: ...


class _Opening(Runner):
    """Opens the corpus in place of the summary."""

    def prepare(self, model: Pretraining, datamodule: TextDataModule) -> None:
        datamodule.open(model.sources, model.backbone.supports_packing, self)
