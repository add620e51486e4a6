"""Minimal pairs made from held-out sentences: one closed-class word exchanged for another."""

import re
from dataclasses import replace

import numpy as np

from lm_objectives.corruptions.random import derive_seed
from lm_objectives.errors import expect
from lm_objectives.evaluation.model import EvaluatedModel
from lm_objectives.evaluation.results import Result
from lm_objectives.evaluation.tasks.base import Session, Task
from lm_objectives.evaluation.tasks.choices import Choice, ChoiceTask, ScoredChoices, credits_of, macro_mean
from lm_objectives.evaluation.tasks.sentences import held_out_sentences
from lm_objectives.evaluation.texts import FRAME, tokenize_texts

EXCHANGES: tuple[tuple[str, str], ...] = (
    ("is", "are"),
    ("was", "were"),
    ("has", "have"),
    ("this", "these"),
    ("that", "those"),
    ("a", "an"),
    ("does", "do"),
    ("much", "many"),
    ("himself", "themselves"),
)
"""Words of which one is wrong where the other is right, in nearly every sentence of English."""

_COMMON = {"the", "and", "of", "to", "a"}  # most sentences of English have one, and few of another language

_COUNTED = 10_000_000  # tokens of the training text, at most

_SHORTEST, _LONGEST = 4, 25  # words of a sentence


class Swaps(Task):
    """Whether a held-out sentence is more likely than the same one with a word exchanged.

        We have done this for many years.      We has done this for many years.

    A sentence makes one pair, of one of the words of `EXCHANGES` that it has, chosen by its text. Pairs are averaged by
    exchange; their chance is that of choosing the commoner words by the training text, which knows many. In a text that
    the model's own is like, a small model shows more than on sentences of another kind. English alone: other languages
    take a file of pairs.
    """

    name = "swaps"

    def __init__(self) -> None:
        self._task: tuple[Session, ChoiceTask] | None = None

    def prepare(self, session: Session) -> ChoiceTask:
        model = session.model
        sentences = [s for s in held_out_sentences(model, self.name) if _SHORTEST <= len(s.split()) <= _LONGEST]
        english = sum(not _COMMON.isdisjoint(sentence.lower().split()) for sentence in sentences)
        pairs = [pair for sentence in sentences for pair in exchange(sentence)] if 2 * english > len(sentences) else []
        tokens = tokenize_texts(model.tokenizer, [("", option) for pair in pairs for option in pair.options]).lengths
        fit = tokens.reshape(-1, 2).max(1, initial=0) <= model.seq_len - FRAME
        fitting = [pair for pair, fits in zip(pairs, fit.tolist(), strict=True) if fits]
        mend = "give minimal pairs of your language in a file, name=path"
        expect(bool(fitting), "held-out English sentences of 4 to 25 words for swaps", "hardly any", mend)
        task = ChoiceTask(self.name, fitting, "exchange")
        self._task = session, task
        return task

    def run(self, session: Session) -> list[Result]:
        task = self._task[1] if self._task and self._task[0] is session else self.prepare(session)
        by_frequency, results = accuracies_by_frequency(task.prepare(session), session.model), task.run(session)
        return [replace(result, chance=by_frequency.get(result.metric, result.chance)) for result in results]


def accuracies_by_frequency(scored: ScoredChoices, model: EvaluatedModel) -> dict[str, float]:
    """The accuracies of choosing the commoner tokens, by how often they stand in the training text."""
    assert model.cache is not None
    counts = np.bincount(model.cache.training.tokens[:_COUNTED], minlength=model.vocabulary.size)
    sums = scored.texts.sums(np.log(counts + 1.0)[scored.texts.tokens])[scored.option]
    groups = [choice.group for choice in scored.choices]
    scores = {"accuracy": sums, "accuracy_by_mean": sums / scored.tokens}
    return {
        metric: macro_mean(credits_of(values, scored.bounds, scored.labels)[0], groups)[1]
        for metric, values in scores.items()
    }


def exchange(sentence: str) -> list[Choice]:
    """The pair of a sentence and the same with one word exchanged; none where it has no such word.

    >>> [choice.options for choice in exchange("We have come this far.")][0][0]
    'We have come this far.'
    >>> exchange("Nothing to change in here.")
    []
    """
    if not _SHORTEST <= len(sentence.split()) <= _LONGEST:
        return []
    found = [
        (match.start(), match.end(), word, other)
        for pair in EXCHANGES
        for word, other in (pair, pair[::-1])
        for match in re.finditer(rf"(?<![\w'\u2019-]){word}(?![\w'\u2019-])", sentence)
    ]
    if not found:
        return []
    start, stop, word, other = sorted(found)[int(derive_seed("swap", sentence) % np.uint64(len(found)))]
    changed = f"{sentence[:start]}{other}{sentence[stop:]}"
    return [Choice("", (sentence, changed), 0, "/".join(sorted((word, other))), where=f"the sentence {sentence!r}")]
