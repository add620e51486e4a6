"""Replaced tokens are all shown, with what they were."""

from typing import Any

import torch

from lm_objectives.demo.context import DemoContext


@torch.no_grad()
def test_replaced_tokens_are_all_shown_with_what_they_were(stage: DemoContext) -> None:
    """Oracle: the discriminator's labels and scores on the same view."""
    objective: Any = stage.module.objectives["replaced"]
    rows, embeddings = stage.excerpt(objective.corruption), stage.backbone.embedding_parameters()
    view = objective.fill_in(objective.corruption.for_validation().corrupt(rows, stage.vocabulary), embeddings)
    scores = objective.logits(stage.hidden(view)).sigmoid()[0]
    lines = list(objective.exhibit(stage))
    replaced = view.extra["labels"][0].bool()
    words = [line.split()[1] for line in lines if " replaced   " in line]
    assert words.count("hit") == int((replaced & (scores > 0.5)).sum())
    assert words.count("miss") == int((replaced & (scores <= 0.5)).sum())
    assert words.count("alarm") == int((~replaced & (scores > 0.5)).sum())
    assert words.count("hit") + words.count("miss") > 0
    for at in replaced.nonzero().flatten().tolist():
        token, was = stage.token(int(view.input_ids[0, at])), stage.token(int(rows.input_ids[0, at]))
        assert any(token in line and line.endswith(f"was {was}") for line in lines)
