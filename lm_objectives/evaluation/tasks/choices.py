"""Choose the right one of several texts by their scores: minimal pairs, and options after a context."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from lm_objectives.corruptions.random import derive_seed, permute
from lm_objectives.errors import InputError, expect
from lm_objectives.evaluation.model import EvaluatedModel
from lm_objectives.evaluation.readings.base import RowReading, TextReading
from lm_objectives.evaluation.results import Result
from lm_objectives.evaluation.store import Arrays
from lm_objectives.evaluation.tasks.base import Session, Task
from lm_objectives.evaluation.texts import FRAME, Texts, tokenize_texts


@dataclass(frozen=True)
class Choice:
    """Texts after one context, of which one is right.

    Attributes:
        context: what is read before each; may be empty.
        options: the texts.
        label: number of the right one.
        group: what it is averaged with.
        phenomenon: what its group is averaged with, empty where there is none.
        where: the place that it comes from, for messages.
    """

    context: str
    options: tuple[str, ...]
    label: int
    group: str = ""
    phenomenon: str = ""
    where: str = field(default="", compare=False)


class ChoiceTask(Task):
    """Accuracy of choosing by the sum of a reading's scores over the tokens of each option, and by their mean.

    The value is the mean over groups of the accuracy within each. Where the right option shares the best score with
    k - 1 others it counts 1 / k.

    Args:
        name: of the task.
        choices: all of them.
        group_key: what groups are called in the items.
    """

    def __init__(self, name: str, choices: Sequence[Choice], group_key: str | None = None) -> None:
        self.name, self.choices, self.group_key = name, choices, group_key
        self._prepared: tuple[Session, ScoredChoices] | None = None

    def prepare(self, session: Session) -> "ScoredChoices":
        scored = ScoredChoices(select(self.choices, session.items, session.seed), session.model)
        self._prepared = session, scored
        return scored

    def run(self, session: Session) -> list[Result]:
        readings = {name: r for name, r in session.readings.items() if isinstance(r, TextReading)}
        scored = self._prepared[1] if self._prepared and self._prepared[0] is session else self.prepare(session)
        known: dict[RowReading, np.ndarray] = {}
        results: list[Result] = []
        for name, reading in readings.items():
            results += self._results(scored, name, *self._scores(session, scored, name, reading, known))
        return results

    def _scores(
        self,
        session: Session,
        scored: "ScoredChoices",
        name: str,
        reading: TextReading,
        known: dict[RowReading, np.ndarray],
    ) -> tuple[Arrays, str | None]:
        def make() -> Arrays:
            tokens = None
            if isinstance(reading, RowReading):
                tokens = int(scored.texts.lengths[reading.rows(scored.texts, session.model.vocabulary).text].sum())
            with session.scorer(f"{self.name} read as {name}", tokens, known) as scorer:
                values = reading.log_probs(scored.texts, scorer)
            return {"sums": scored.texts.sums(values)[scored.option], "tokens": scored.tokens, **scored.layout}

        return session.store.get(f"{name}\n{type(reading).__name__}\n{scored.digest}", make)

    def _results(self, scored: "ScoredChoices", name: str, arrays: Arrays, items: str | None) -> list[Result]:
        sums = arrays["sums"]
        results = []
        for metric, scores in {"accuracy": sums, "accuracy_by_mean": sums / scored.tokens}.items():
            credit, tied = credits_of(scores, scored.bounds, scored.labels)
            groups, value, error = macro_mean(credit, [choice.group for choice in scored.choices])
            results.append(
                Result(
                    self.name,
                    name,
                    metric,
                    value,
                    len(credit),
                    error,
                    chance=float(np.mean([np.mean(1 / c) for c in scored.options_by_group().values()])),
                    ties=int(tied.sum()),
                    truncated=scored.truncated,
                    unknown=int(scored.texts.unknown[scored.option].sum()),
                    group_key=self.group_key,
                    groups={} if len(groups) == 1 else groups,
                    phenomena=scored.phenomena(credit),
                    items=items,
                )
            )
        return results


class ScoredChoices:
    """Choices as tokenized texts, each different one once.

    Attributes:
        choices: the choices.
        texts: their texts.
        option: number of the text of each option of all choices, `(options,)`.
        bounds: where each choice's options start, and where the last stop, `(choices + 1,)`.
        labels: the right one of each, `(choices,)`.
    """

    def __init__(self, choices: Sequence[Choice], model: EvaluatedModel) -> None:
        self.choices = choices
        numbers: dict[tuple[str, str], int] = {}
        options = [numbers.setdefault((c.context, option), len(numbers)) for c in choices for option in c.options]
        self.option, self.labels = np.array(options), np.array([choice.label for choice in choices])
        self.bounds = np.concatenate([[0], np.cumsum([len(choice.options) for choice in choices])])
        texts, room = tokenize_texts(model.tokenizer, [*numbers]), model.seq_len - FRAME
        self._check(texts, room)
        self.texts = texts.cut(room)
        self.tokens = self.texts.scored[self.option]

    def _check(self, texts: Texts, room: int) -> None:
        """Raise where an option has no tokens, or more than the model reads."""
        tokens = texts.scored[self.option]
        for number in np.flatnonzero((tokens == 0) | (tokens > room))[:1].tolist():
            choice = self.choices[int(np.searchsorted(self.bounds, number, side="right")) - 1]
            at, mend = f" in {choice.where}" if choice.where else "", "leave the item out"
            expect(int(tokens[number]) > 0, f"texts that the tokenizer knows{at}", "one that it does not", mend)
            expected = f"texts of at most {room} tokens, as the model reads{at}"
            raise InputError(f"expected {expected}, found {tokens[number]}: {mend}")

    @cached_property
    def digest(self) -> str:
        """A hash of all that the scores depend on."""
        items = [[choice.context, choice.options, choice.label, choice.group] for choice in self.choices]
        return hashlib.sha256(json.dumps(items).encode()).hexdigest()

    @property
    def layout(self) -> Arrays:
        """What tells the options' choices, labels and groups in the kept arrays."""
        return {"bounds": self.bounds, "labels": self.labels, "groups": np.array([c.group for c in self.choices])}

    @property
    def truncated(self) -> int:
        """Choices with an option whose context was cut."""
        return int(np.add.reduceat(self.texts.truncated[self.option], self.bounds[:-1]).astype(bool).sum())

    def options_by_group(self) -> dict[str, np.ndarray]:
        """Numbers of options of each group's choices."""
        counts, groups = np.diff(self.bounds), np.array([choice.group for choice in self.choices])
        return {str(group): counts[groups == group] for group in np.unique(groups)}

    def phenomena(self, credit: np.ndarray) -> dict[str, tuple[float, float | None]]:
        """The macro mean over the groups of each phenomenon, and its standard error."""
        found: dict[str, tuple[float, float | None]] = {}
        names = np.array([choice.phenomenon for choice in self.choices])
        groups = np.array([choice.group for choice in self.choices])
        for name in np.unique(names) if names.astype(bool).all() else ():
            _, value, error = macro_mean(credit[names == name], groups[names == name].tolist())
            found[str(name)] = value, error
        return found


def select(choices: Sequence[Choice], items: int, seed: int) -> list[Choice]:
    """At most `items` of each group in their order, the same whatever reads them; all where `items` is 0."""
    if not items:
        return list(choices)
    groups: dict[str, list[int]] = {}
    for number, choice in enumerate(choices):
        groups.setdefault(choice.group, []).append(number)
    chosen: list[int] = []
    for group, numbers in groups.items():
        order = permute(np.arange(len(numbers)), len(numbers), derive_seed("items", seed, group))
        chosen += [numbers[place] for place in np.argsort(order)[:items]]
    return [choices[number] for number in sorted(chosen)]


def credits_of(scores: np.ndarray, bounds: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What each choice counts, 1 for the right option alone at the top, and whether the right one shares the top.

    >>> import numpy as np
    >>> credit, tied = credits_of(np.array([-3.0, -4.0, -2.0, -2.0]), np.array([0, 2, 4]), np.array([0, 1]))
    >>> credit.tolist(), tied.tolist()
    ([1.0, 0.5], [False, True])

    Args:
        scores: of all options, `(options,)`.
        bounds: where each choice's options start, and where the last stop, `(choices + 1,)`.
        labels: the right option of each, `(choices,)`.
    """
    best = np.repeat(np.maximum.reduceat(scores, bounds[:-1]), np.diff(bounds))
    top = scores == best
    shared = np.add.reduceat(top, bounds[:-1], dtype=np.int64)
    right = top[bounds[:-1] + labels]
    return right / np.maximum(shared, 1), right & (shared > 1)


def macro_mean(credit: np.ndarray, groups: Sequence[str]) -> tuple[dict[str, float], float, float | None]:
    """The mean of each group, their mean, and its standard error over the items, as if items were independent.

    There is no error where a group has one item alone, or all of each are alike: then nothing is known of the spread.
    """
    names, of = np.unique(np.array(groups), return_inverse=True)
    counts = np.bincount(of)
    means = np.bincount(of, weights=credit) / counts
    squares = np.bincount(of, weights=(credit - means[of]) ** 2)
    error = None
    if counts.min() > 1 and squares.any():
        error = float(np.sqrt((squares / (counts - 1) / counts).sum()) / len(names))
    return dict(zip(map(str, names), means.tolist(), strict=True)), float(means.mean()), error
