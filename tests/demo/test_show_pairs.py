"""Pairs are judged as the head judges them, and made as the corruptions make them."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lm_objectives import show
from lm_objectives.demo.context import DemoContext, tokenize
from lm_objectives.demo.generate import Sampling
from lm_objectives.objectives import (
    LossOutput,
    NextSentence,
)
from lm_objectives.views import View

TEXT = "The dog ran home. A cat sat away. My son came to the sea. One bird went to the hill."


def lines_of(objective: Any, context: DemoContext) -> list[str]:
    """The lines of a head that always answers 0 with log-odds of 2 ln 3: 90 %."""
    saved = {name: value.clone() for name, value in objective.state_dict().items()}
    with torch.no_grad():
        objective.classifier.weight.zero_()
        objective.classifier.bias.copy_(torch.tensor([math.log(3), -math.log(3)]))
        lines = list(show(objective, context))
        objective.load_state_dict(saved)
    return lines


def test_both_orders_of_a_pair_are_judged(context: DemoContext) -> None:
    """Oracle: a head that always answers in order is 90 % right once and wrong once."""
    first, second, *verdicts = lines_of(context.module.objectives["order"], context)
    assert verdicts == [
        "  hit  shown in their order  judged so with 90%",
        "  miss shown swapped         judged so with 10%",
    ]
    told = first.removeprefix("  first:").strip() + " " + second.removeprefix("  second:").strip()
    assert TEXT.startswith(told)


@torch.no_grad()
def test_both_orders_of_a_pair_are_rows_of_its_corruption(
    context: DemoContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle: the row that the corruption makes of the text, in whichever order its coin says, and its mirror image."""
    objective: Any = context.module.objectives["order"]
    read = record_views(objective, monkeypatch)
    for seed in range(4):
        made = replace(context, sampling=Sampling(seed=seed))
        list(show(objective, made))
        text = made.text.stream(objective.corruption)
        windows = objective.corruption.windows(text, 32, packing=False)[:1]
        drawn = objective.corruption.read_rows(text, windows, made.keys(), 32, made.vocabulary)
        own = objective.corruption.corrupt(drawn, made.vocabulary)
        same, other = read[-2:] if not drawn.labels[0] else read[:-3:-1]
        assert torch.equal(same.input_ids, own.input_ids) and torch.equal(same.token_type_ids, own.token_type_ids)
        assert same.targets.tolist() == own.targets.tolist() == (1 - other.targets).tolist()
        (one, two), (three, four) = (segments_of(view, made.vocabulary.eos) for view in (same, other))
        assert (one, two) == (four, three) and one and two and one != two
    assert {int(view.targets) for view in read} == {0, 1}


def record_views(objective: Any, monkeypatch: pytest.MonkeyPatch) -> list[View]:
    """The views that an objective scores, as they come."""
    read: list[View] = []
    compute_loss = objective.compute_loss

    def record(hidden: Tensor, view: View, embedding: Tensor) -> LossOutput:
        read.append(view)
        return compute_loss(hidden, view, embedding)

    monkeypatch.setattr(objective, "compute_loss", record)
    return read


def segments_of(view: View, eos: int) -> tuple[list[int], list[int]]:
    """Both segments of a pair, without the tokens around them."""
    row = view.input_ids[0, 1 : int(view.lengths) - 1].tolist()
    return row[: row.index(eos)], row[row.index(eos) + 1 :]


def next_on(context: DemoContext) -> Any:
    objective = NextSentence()
    objective.setup(context.module.backbone, context.vocabulary)
    return objective.eval()


def test_the_next_segment_and_another_are_judged(context: DemoContext) -> None:
    """Oracle: a head that always answers next is 90 % right once and wrong once."""
    first, following, other, *verdicts = lines_of(next_on(context), context)
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
    objective = next_on(context)
    read = record_views(objective, monkeypatch)
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
