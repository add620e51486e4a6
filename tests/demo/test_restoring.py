"""Spans restored: parsed at their sentinels, judged token by token, in both layouts."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.demo import show_seq2seq as restoring
from lm_objectives.demo.context import DemoContext
from lm_objectives.demo.generate import generate
from lm_objectives.demo.show_seq2seq import by_sentinel
from lm_objectives.export.convert import convert
from lm_objectives.objectives import SpanDenoising
from lm_objectives.views import View

END, FIRST, SECOND = 2, 90, 91


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([FIRST, 5, 6, SECOND, 7, END, 8], {FIRST: [5, 6], SECOND: [7]}),
        ([5, FIRST, SECOND, 7], {FIRST: [], SECOND: [7]}),
        ([FIRST, 5, FIRST, 6, SECOND, 7], {FIRST: [5], SECOND: [7]}),
        ([5, 6, END], {}),
        ([], {}),
    ],
)
def test_what_is_written_is_told_apart_at_sentinels(ids: list[int], expected: dict[int, list[int]]) -> None:
    assert by_sentinel(ids, {FIRST, SECOND}, END) == expected


CASES: dict[str, tuple[str, SpanDenoising]] = {
    "t5": ("t5", SpanDenoising(0.3)),
    "bart": ("bart", SpanDenoising(0.3, mode="[R]")),
    "one row": ("llama", SpanDenoising(0.3, layout="prefix", mode="[X]")),
}


@pytest.fixture(scope="module", params=CASES)
def spans(request: pytest.FixtureRequest, stage_for: Any) -> DemoContext:
    family, objective = CASES[request.param]
    return stage_for(family, {"spans": objective})


def written_as(stage: DemoContext, ids: list[int], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The exhibit of a model that writes these tokens."""
    monkeypatch.setattr(restoring, "write", lambda *arguments: ids)
    objective: Any = stage.module.objectives["spans"]
    return list(objective.exhibit(stage))


def verdicts(lines: list[str]) -> list[str]:
    return [line.split()[1] for line in lines if line.startswith("  <extra_id_")]


def target(stage: DemoContext) -> list[int]:
    objective: Any = stage.module.objectives["spans"]
    rows = stage.excerpt_for(objective.corruption, first=1, most=objective.corruption.raw_length(stage.seq_len))
    return objective.corruption.corrupt(rows, stage.vocabulary).targets.tolist()


def test_right_spans_are_hits_and_others_are_not(spans: DemoContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: the corruption's own target, written whole, cut short and with one token changed."""
    right = target(spans)
    count = sum(spans.decode([token]).startswith("<extra_id_") for token in right)
    lines = written_as(spans, right, monkeypatch)
    assert verdicts(lines) == ["hit"] * count and lines[-1] == f"  {count} of {count} spans restored"
    lines = written_as(spans, right[:1], monkeypatch)
    assert verdicts(lines) == ["miss"] * count and lines[-1] == f"  0 of {count} spans restored"
    assert count == 1 or "written: nothing" in "\n".join(lines)
    lines = written_as(spans, [right[0], right[1] + 1, *right[2:]], monkeypatch)
    assert verdicts(lines) == ["miss", *["hit"] * (count - 1)]


def test_the_text_shows_each_sentinel_once_and_all_else_that_is_not_noise(
    spans: DemoContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle: putting the right spans back gives the text."""
    lines = written_as(spans, [], monkeypatch)
    told = " ".join(line.strip() for line in lines[: [line[:4] == "  <e" for line in lines].index(True)])
    right = by_sentinel(
        target(spans),
        {token for token in target(spans) if spans.decode([token]).startswith("<extra_id_")},
        spans.vocabulary.eos,
    )
    for token, span in right.items():
        assert told.count(spans.decode([token])) == 1
        told = told.replace(spans.decode([token]), spans.decode(span))
    text = spans.decode(spans.text.tokens[1:-1].tolist())
    assert text.replace(" ", "").startswith(told.removeprefix("[R]").removeprefix("[X]").replace(" ", ""))


@pytest.mark.parametrize("family", ["t5", "bart"])
@torch.no_grad()
def test_what_the_model_writes_is_what_the_exported_model_writes(
    stage_for: Any, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    """Oracle: `generate(do_sample=False)` of T5ForConditionalGeneration and BartForConditionalGeneration."""
    made: DemoContext = stage_for(family, {"spans": SpanDenoising(0.3)})
    objective: Any = made.module.objectives["spans"]
    written: list[tuple[View, list[int]]] = []

    def recorded(backbone: Backbone, read: View, *arguments: Any) -> list[int]:
        written.append((read, generate(backbone, read, *arguments)))
        return written[-1][1]

    monkeypatch.setattr(restoring, "write", recorded)
    lines = list(objective.exhibit(made))
    [(read, told)] = written
    model: Any = convert(made.module, "spans")[""]
    model.generation_config = GenerationConfig()  # BART's would end each text at the limit
    asked = GenerationConfig(
        do_sample=False,
        max_new_tokens=len(told),
        eos_token_id=made.vocabulary.eos,
        pad_token_id=made.vocabulary.pad,
        decoder_start_token_id=made.backbone.config.decoder_start_token_id,
    )
    theirs = model.generate(read.input_ids, attention_mask=torch.ones_like(read.input_ids), generation_config=asked)
    assert theirs[0, 1:].tolist() == told and told
    assert set(verdicts(lines)) <= {"hit", "miss"} and lines[-1].endswith("spans restored")


def test_a_text_of_one_token_is_one_clear_line(spans: DemoContext) -> None:
    objective: Any = spans.module.objectives["spans"]
    tokens, sentences = spans.text.tokens[:2], spans.text.sentences[:1].copy()
    sentences[0] = (1, 2)
    with pytest.raises(ValueError, match=r"^expected a text of 2 tokens to leave a span out of, found a shorter one"):
        list(objective.exhibit(replace(spans, text=replace(spans.text, tokens=tokens, sentence_starts=sentences))))
