"""A training that was read but not begun: its settings and its parts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lm_objectives.comparison.study import Settings
from lm_objectives.data.datamodule import TextDataModule
from lm_objectives.training.module import Pretraining


@dataclass(frozen=True, eq=False)
class Experiment:
    """The parts of a training, made and opened but not begun.

    Attributes:
        settings: that they were made from.
        module: not built yet.
        data: its token cache open.
    """

    settings: Settings
    module: Pretraining
    data: TextDataModule


@dataclass(frozen=True)
class ExperimentReader:
    """How settings are read: the command line does it, and hands it to those who must not know it.

    Attributes:
        read: the settings of the arguments of `fit`, completed and checked.
        open: the parts of a training with these settings.
    """

    read: Callable[[Sequence[str]], Settings]
    open: Callable[[Settings], Experiment]
