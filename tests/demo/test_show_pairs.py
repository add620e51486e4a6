"""Pairs are judged as the head judges them, and made as the corruptions make them."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lm_objectives import show
from lm_objectives.demo.context import DemoContext, tokenize
from lm_objectives.objectives import (
    LossOutput,
    NextSentence,
)
from lm_objectives.views import Rows, View

TEXT = "The dog ran home. A cat sat away. My son came to the sea. One bird went to the hill."


def told_by(objective: Any, context: DemoContext) -> list[str]:
    """The exhibit of a head that always answers 0 with log-odds of 2 ln 3: 90 %."""
    saved = {name: value.clone() for name, value in objective.state_dict().items()}
    with torch.no_grad():
        objective.classifier.weight.zero_()
        objective.classifier.bias.copy_(torch.tensor([math.log(3), -math.log(3)]))
        lines = list(show(objective, context))
        objective.load_state_dict(saved)
    return lines


def test_both_orders_of_a_pair_are_judged(context: DemoContext) -> None:
    """Oracle: a head that always answers in order is 90 % right once and wrong once."""
    first, second, *verdicts = told_by(context.module.objectives["order"], context)
    assert verdicts == [
        "  hit  shown in their order  judged so with 90%",
        "  miss shown swapped         judged so with 10%",
    ]
    told = first.removeprefix("  first:").strip() + " " + second.removeprefix("  second:").strip()
    assert TEXT.startswith(told)


def test_swapping_a_pair_moves_its_segments_as_the_corruption_would() -> None:
    pair = Rows(
        keys=np.zeros(1, dtype=np.uint64),
        input_ids=np.array([[1, 5, 6, 7, 2, 8, 9, 2, 0, 0]]),
        lengths=np.array([8]),
        token_type_ids=np.array([[0, 0, 0, 0, 0, 1, 1, 1, 0, 0]]),
        labels=np.array([0]),
    )
    swapped = swap(pair)
    assert swapped.input_ids.tolist() == [[1, 8, 9, 2, 5, 6, 7, 2, 0, 0]]
    assert swapped.token_type_ids is not None and swapped.token_type_ids.tolist() == [[0, 0, 0, 0, 1, 1, 1, 1, 0, 0]]
    assert swapped.labels is not None and swapped.labels.tolist() == [1]
    assert swap(swapped).input_ids.tolist() == pair.input_ids.tolist()


def next_on(context: DemoContext) -> Any:
    objective = NextSentence()
    objective.setup(context.module.backbone, context.vocabulary)
    return objective.eval()


def test_the_next_segment_and_another_are_judged(context: DemoContext) -> None:
    """Oracle: a head that always answers next is 90 % right once and wrong once."""
    first, following, other, *verdicts = told_by(next_on(context), context)
    assert verdicts == [
        "  hit  shown with the next  judged so with 90%",
        "  miss shown with another   judged so with 10%",
    ]
    told = first.removeprefix("  first:").strip() + " " + following.removeprefix("  next:").strip()
    assert TEXT.startswith(told)
    another = other.removeprefix("  another:").strip()
    start = context.with_another.documents[1]
    assert context.decode(context.with_another.tokens[start + 1 :].tolist()).strip().startswith(another)


@torch.no_grad()
def test_rows_of_next_sentences_are_bos_two_segments_and_their_ends(
    context: DemoContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle: the layout of BERT's pairs, written out."""
    objective, read = next_on(context), []
    score = objective.compute_loss

    def recorded(hidden: Tensor, view: View, embedding: Tensor) -> LossOutput:
        read.append(view)
        return score(hidden, view, embedding)

    monkeypatch.setattr(objective, "score", recorded)
    list(show(objective, context))
    bos, eos = context.vocabulary.bos, context.vocabulary.eos
    for label, view in enumerate(read):
        row = view.input_ids[0, : int(view.lengths)].tolist()
        ends = [at for at, token in enumerate(row) if token == eos]
        assert row[0] == bos and len(ends) == 2 and ends[1] == len(row) - 1 and view.targets.tolist() == [label]
        assert view.token_type_ids[0, : len(row)].tolist() == [0] * (ends[0] + 1) + [1] * (ends[1] - ends[0])
    assert read[0].input_ids[0, :5].tolist() == read[1].input_ids[0, :5].tolist()


@pytest.mark.parametrize("text", ["One sentence.", "dog " * 60, "dog " * 60 + ". Short. Short too."])
def test_a_text_without_a_pair_is_one_clear_line(text: str, context: DemoContext) -> None:
    own, both = (tokenize(texts, context.tokenizer, context.vocabulary) for texts in ([text], [text, TEXT]))
    with pytest.raises(ValueError, match=r"^expected two sentences that each fit half the window of 32 tokens, found"):
        list(show(next_on(context), replace(context, text=own, with_another=both)))
    objective: Any = context.module.objectives["order"]
    if "Short" not in text:
        with pytest.raises(ValueError, match=r"^expected two sentences in a paragraph that fit the window of 32"):
            list(show(objective, replace(context, text=own)))
