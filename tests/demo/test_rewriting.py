"""A text written anew: what of the right one it has, counted by the longest common subsequence."""

import random
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.demo import show_seq2seq as rewriting
from lm_objectives.demo.context import DemoContext
from lm_objectives.demo.generate import generate
from lm_objectives.demo.show_seq2seq import len_common
from lm_objectives.export.convert import convert
from lm_objectives.objectives import TextDenoising
from lm_objectives.views import View


def is_within(part: tuple[int, ...], whole: list[int]) -> bool:
    rest = iter(whole)
    return all(token in rest for token in part)


def test_common_tokens_are_the_longest_common_subsequence() -> None:
    """Oracle: all subsequences, tried from the longest on."""
    draw = random.Random(0)
    for _ in range(60):
        left, right = (draw.choices(range(4), k=draw.randint(0, 7)) for _ in range(2))
        sizes = [
            size for size in range(len(left) + 1) if any(is_within(part, right) for part in combinations(left, size))
        ]
        assert len_common(left, right) == max(sizes)


@pytest.fixture(scope="module", params=["word", "token"])
def texts(request: pytest.FixtureRequest, stage_for: Any) -> DemoContext:
    return stage_for("bart", {"text": TextDenoising(unit=request.param)})


def test_the_right_text_and_the_corrupted_one_are_counted(texts: DemoContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: the text itself, the text without its last three tokens, and nothing."""
    objective: Any = texts.module.objectives["text"]
    rows = texts.excerpt(objective.corruption)
    right = rows.input_ids[0].tolist()
    words = len(right) - 1  # without bos
    for ids, expected in ((right, words), ([*right[:-3], texts.vocabulary.eos], words - 3), ([], 0)):
        monkeypatch.setattr(rewriting, "write", lambda *arguments, ids=ids: ids)
        corrupted, *lines, count = objective.exhibit(texts)
        assert corrupted.startswith("  corrupted: ") and "[MASK]" in "\n".join([corrupted, *lines])
        assert count.startswith(f"  {expected} of {words} right tokens in their order; the corrupted text has ")
        assert int(count.rsplit(" ", 1)[1]) < words
        told = " ".join(line.strip() for line in lines).split("right:")[1]
        assert " ".join(told.split()) == " ".join(texts.decode(right[1:]).split())


@torch.no_grad()
def test_what_the_model_writes_is_what_the_exported_model_writes(
    stage_for: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle: `generate(do_sample=False)` of BartForConditionalGeneration as `export` writes them."""
    made: DemoContext = stage_for("bart", {"text": TextDenoising()})
    objective: Any = made.module.objectives["text"]
    written: list[tuple[View, list[int]]] = []

    def recorded(backbone: Backbone, read: View, *arguments: Any) -> list[int]:
        written.append((read, generate(backbone, read, *arguments)))
        return written[-1][1]

    monkeypatch.setattr(rewriting, "write", recorded)
    lines = list(objective.exhibit(made))
    [(read, told)] = written
    model: Any = convert(made.module, "text")[""]
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
    assert any(line.startswith("  written:") for line in lines) and " right tokens in their order" in lines[-1]


def test_a_text_without_a_word_is_one_clear_line(texts: DemoContext) -> None:
    objective: Any = texts.module.objectives["text"]
    bare = replace(texts.text, tokens=texts.text.tokens[:1], sentence_starts=texts.text.sentences[:0])
    with pytest.raises(ValueError, match=r"^expected a text with a word to leave out, found none: give a longer text"):
        list(objective.exhibit(replace(texts, text=bare)))
