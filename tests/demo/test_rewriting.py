"""A text written anew: what of the right one it has, counted by the longest common subsequence."""

import random
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
import torch

from lm_objectives.demo import rewriting
from lm_objectives.demo.rewriting import len_common
from lm_objectives.demo.stage import Stage
from lm_objectives.objectives import TextDenoising

torch.set_num_threads(1)


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
def texts(request: pytest.FixtureRequest, stage_for: Any) -> Stage:
    return stage_for("bart", {"text": TextDenoising(unit=request.param)})


def test_the_right_text_and_the_corrupted_one_are_counted(texts: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: the text itself, the text without its last three tokens, and nothing."""
    objective: Any = texts.module.objectives["text"]
    rows = texts.excerpt()
    right = rows.ids[0].tolist()
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
def test_what_the_model_itself_writes_is_shown(texts: Stage) -> None:
    objective: Any = texts.module.objectives["text"]
    lines = list(objective.exhibit(texts))
    assert [line.split()[0] for line in lines if line.split()[0].endswith(":")][:3:2] == ["corrupted:", "right:"]
    assert " right tokens in their order" in lines[-1]


def test_a_text_without_a_word_is_one_clear_line(texts: Stage) -> None:
    objective: Any = texts.module.objectives["text"]
    bare = replace(texts.text, tokens=texts.text.tokens[:1], sentences=texts.text.sentences[:0])
    with pytest.raises(ValueError, match=r"^expected a text with a word to leave out, found none: give a longer text"):
        list(objective.exhibit(replace(texts, text=bare)))
