"""Pairs made from sentences: one word exchanged, both ways, never inside another word."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from lm_objectives import InputError
from lm_objectives.evaluation.model import from_checkpoint
from lm_objectives.evaluation.store import ItemStore
from lm_objectives.evaluation.tasks.base import Session
from lm_objectives.evaluation.tasks.sentences import held_out_sentences
from lm_objectives.evaluation.tasks.swaps import EXCHANGES, Swaps, exchange


@pytest.mark.parametrize("pair", EXCHANGES)
def test_each_word_is_exchanged_for_its_other(pair: tuple[str, str]) -> None:
    for word, other in (pair, pair[::-1]):
        [choice] = exchange(f"Nobody knows {word} better than we.")
        assert choice.options == (f"Nobody knows {word} better than we.", f"Nobody knows {other} better than we.")
        assert choice.label == 0 and choice.group == "/".join(sorted(pair))


def test_parts_of_words_and_sentences_of_other_lengths_are_left_alone() -> None:
    assert exchange("Nobody isn't is-land wasn\u2019t hasty here.") == []
    assert exchange("This is short.") == [] == exchange("word " * 30 + "is")


def test_every_candidate_is_chosen_by_the_sentences_text() -> None:
    made = [exchange(f"There is what was a number {n} of them.")[0] for n in range(300)]
    groups = Counter(choice.group for choice in made)
    assert {*groups} == {"are/is", "was/were", "a/an"} and min(groups.values()) > 70  # of 100 each
    assert made == [exchange(f"There is what was a number {n} of them.")[0] for n in range(300)]


def test_a_runs_own_held_out_sentences_are_read_and_another_language_is_told(tiny_run: Path) -> None:
    model = from_checkpoint(str(tiny_run))
    sentences = [*held_out_sentences(model, "swaps")]
    assert sentences and len({*sentences}) == len(sentences)
    assert all(sentence.endswith(".") and sentence[0].isupper() for sentence in sentences)
    session = Session(model, model.readings, 0, 0, 4096, "32-true", ItemStore(None, ""), [])
    with pytest.raises(InputError, match=r"held-out English sentences of 4 to 25 words for swaps, found hardly any"):
        Swaps().run(session)
    with pytest.raises(InputError, match=r"the run's own held-out documents for the task swaps, found none: give"):
        Swaps().run(replace(session, model=replace(model, cache=None)))
