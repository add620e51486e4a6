"""The base class of tasks, and what an evaluation hands them."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lm_objectives.data.preparation.progress import progress_bar
from lm_objectives.evaluation.model import EvaluatedModel
from lm_objectives.evaluation.readings.base import Reading, RowReading
from lm_objectives.evaluation.results import Result
from lm_objectives.evaluation.scorer import Precision, Scorer
from lm_objectives.evaluation.store import ItemStore


@dataclass(frozen=True)
class Session:
    """One evaluation: the model, how it is read, and the settings that all tasks share.

    Attributes:
        model: on its device.
        readings: those that are wanted, by name.
        items: of each group of a task, at most; 0 for all. The same for each reading.
        seed: chooses these items, and draws what tasks make.
        batch_tokens, precision: as in `Scorer`.
        store: keeps the items' scores.
        notes: what was left out, and why.
    """

    model: EvaluatedModel
    readings: Mapping[str, Reading]
    items: int
    seed: int
    batch_tokens: int
    precision: Precision
    store: ItemStore
    notes: list[str]

    @contextmanager
    def scorer(self, what: str, tokens: int | None, known: dict[RowReading, np.ndarray]) -> Iterator[Scorer]:
        """A scorer that shows its progress over so many tokens, and what it and others know of the same texts."""
        model = self.model
        with progress_bar(what, "tokens", tokens) as advance:
            yield Scorer(model.module, model.vocabulary, self.batch_tokens, self.precision, advance, known)


class Task(ABC):
    """Something that a model can be good at.

    Attributes:
        name: what results are called by.
    """

    name: str

    needs_scikit_learn: ClassVar[bool] = False
    """Whether it is done with scikit-learn, which the extra `evaluate` installs."""

    def prepare(self, session: Session) -> object:
        """Make what is scored, where that can fail: it is done for all tasks before the first is run.

        Raises:
            InputError: for items that the model cannot read.
        """
        del session
        return None

    @abstractmethod
    def run(self, session: Session) -> list[Result]:
        """The results of a model, for each reading that the task can be done with.

        Raises:
            InputError: where the model cannot do it at all.
        """
