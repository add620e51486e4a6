"""Guesses for masks are the likeliest tokens of the reference classes, and replaced tokens are all shown."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch

from lm_objectives import show
from lm_objectives.corruptions.span_lengths import Geometric, NGram
from lm_objectives.demo.context import DemoContext
from lm_objectives.export.convert import convert
from lm_objectives.objectives import MaskedLM


def guesses_of(lines: list[str]) -> list[str]:
    """The guesses for each mask, in one line each."""
    whole = [line.strip() for line in lines]
    starts = [at for at, line in enumerate(whole) if " guesses: " in line] + [len(whole)]
    return ["  ".join(whole[at:stop]).split("guesses: ")[1] for at, stop in pairwise(starts)]


@pytest.mark.parametrize("family", ["bert", "roberta", "albert"])
@torch.no_grad()
def test_the_five_guesses_are_the_likeliest_of_the_reference_class(family: str, context_for: Any) -> None:
    """Oracle: `torch.topk` on the logits of BertForMaskedLM, RobertaForMaskedLM and AlbertForMaskedLM."""
    made: DemoContext = context_for(family, {"masked": MaskedLM()})
    objective: Any = made.module.objectives["masked"]
    lines = list(show(objective, made))
    all_masked = replace(objective.corruption, mask_share=1.0, random_share=0.0)
    view = all_masked.corrupt(made.excerpt(all_masked), made.vocabulary)
    model: Any = convert(made.module, "masked")[""]
    real = torch.arange(view.input_ids.shape[1]) < view.lengths[:, None]
    logits = model(input_ids=view.input_ids, attention_mask=real.long()).logits[0, view.label_positions]
    best, tokens = logits.softmax(1).topk(5)
    expected = [
        "  ".join(f"{made.quote(t)} {p:.0%}" for p, t in zip(*row, strict=True))
        for row in zip(best.tolist(), tokens.tolist(), strict=True)
    ]
    assert guesses_of(lines) == expected and len(expected) > 2


@pytest.mark.parametrize("name", ["masked", "ahead"])
@torch.no_grad()
def test_guesses_are_the_heads_own(name: str, context: DemoContext) -> None:
    """Oracle: `compute_loss`, whose accuracy counts the hits and whose nats are -ln p of the right tokens."""
    objective: Any = context.module.objectives[name]
    all_masked = replace(objective.corruption, rate=0.15, mask_share=1.0, random_share=0.0)
    view = all_masked.corrupt(context.excerpt(all_masked), context.vocabulary)
    [hidden] = context.module.backbone.encode([view])
    scored = objective.compute_loss(hidden, view, context.module.backbone.embedding)
    lines = list(show(objective, context))
    hits = [line for line in lines if "guesses:" in line]
    assert [line.split()[1] == "hit" for line in hits] == scored.metric_inputs["accuracy"][0].bool().tolist()
    shares = [int(line.split("guesses:")[0].rstrip().rsplit(" ", 1)[1].rstrip("%")) / 100 for line in hits]
    for at, share in enumerate(shares):
        one = replace(view, label_positions=view.label_positions[at : at + 1], targets=view.targets[at : at + 1])
        nats = objective.compute_loss(hidden, one, context.module.backbone.embedding).loss_sums["loss"]
        assert float(nats.neg().exp()) == pytest.approx(share, abs=0.00501)
    assert f"[{len(hits)}]" in " ".join(line for line in lines if "guesses:" not in line)


@pytest.mark.parametrize(
    "objective",
    [
        lambda: MaskedLM(0.5, unit="word"),
        lambda: MaskedLM(lengths=NGram()),
        lambda: MaskedLM(unit="word", lengths=Geometric()),
    ],
)
def test_masks_lie_over_the_units_that_are_trained(objective: Any, context: DemoContext) -> None:
    """Oracle: the corruption itself with every scored token masked, at the held-out rate."""
    made: Any = objective()
    made.setup(context.module.backbone, context.vocabulary)
    all_masked = replace(made.corruption, rate=0.15, mask_share=1.0, random_share=0.0)
    view = all_masked.corrupt(context.excerpt(all_masked), context.vocabulary)
    targets = view.targets.tolist()
    told = [line for line in show(made.eval(), context) if "right: " in line]
    assert len(told) > 1
    assert all(line.split("right: ")[1].startswith(context.quote(t)) for line, t in zip(told, targets, strict=True))


def test_a_text_without_a_token_to_mask_is_one_clear_line(context: DemoContext) -> None:
    objective: Any = context.module.objectives["ahead"]
    bare = replace(context.text, tokens=context.text.tokens[:1], sentences=context.text.sentences[:0])
    with pytest.raises(ValueError, match=r"^expected a text with a token to mask, found none: give a longer text"):
        list(show(objective, replace(context, text=bare)))


@torch.no_grad()
def test_replaced_tokens_are_all_shown_with_what_they_were(context: DemoContext) -> None:
    """Oracle: the discriminator's labels and scores on the same view."""
    objective: Any = context.module.objectives["replaced"]
    rows, embeddings = context.excerpt(objective.corruption), context.module.backbone.embedding_parameters()
    view = objective.fill_in(objective.corruption.for_validation().corrupt(rows, context.vocabulary), embeddings)
    [hidden] = context.module.backbone.encode([view])
    scores = objective.logits(hidden).sigmoid()[0, : int(view.lengths)]
    lines = list(show(objective, context))
    replaced = view.extra["labels"][0, : int(view.lengths)].bool()
    words = [line.split()[1] for line in lines if " replaced   " in line]
    assert words.count("hit") == int((replaced & (scores > 0.5)).sum())
    assert words.count("miss") == int((replaced & (scores <= 0.5)).sum())
    assert words.count("alarm") == int((~replaced & (scores > 0.5)).sum())
    assert words.count("hit") + words.count("miss") > 0
    for at in replaced.nonzero().flatten().tolist():
        token, was = context.quote(int(view.input_ids[0, at])), context.quote(int(rows.input_ids[0, at]))
        assert any(token in line and line.endswith(f"was {was}") for line in lines)
