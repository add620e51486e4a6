"""The demo: what it shows is what the heads say, and its samples are those of the distribution."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import FAMILIES

from lm_objectives.backbone import Backbone
from lm_objectives.checkpoint import open_run
from lm_objectives.corruption.base import Rows
from lm_objectives.demo import (
    Stage,
    demo,
    detected,
    filled,
    held_out_paragraph,
    judged,
    masked_probabilities,
    paint,
    sample_token,
    set_stage,
    show,
    swap,
)
from lm_objectives.objectives import CausalLM, ReplacedToken

torch.set_num_threads(1)

_TEXT = "The dog ran home. A cat sat away. My son came to the sea. One bird went to the hill."


@pytest.fixture(scope="module")
def stage(tiny_run: Path) -> Stage:
    return set_stage(open_run(str(tiny_run)), _TEXT, tokens=8, temperature=0.8, top_p=0.9, seed=0)


def printed(capsys: pytest.CaptureFixture[str], *arguments: Any, **options: Any) -> str:
    demo(*arguments, **options)
    return capsys.readouterr().out


def test_one_seed_prints_the_same_and_another_does_not(tiny_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tiny_run)
    first = printed(capsys, path, seed=1)
    assert first == printed(capsys, path, seed=1) != printed(capsys, path, seed=2)
    assert first.startswith(f"{path} on a held-out paragraph\n")
    for heading in ("causal (CausalLM)", "masked (MaskedLM)", "order (SentenceOrder)", "replaced (ReplacedToken)"):
        assert f"\n{heading}\n" in first
    assert "Text sampled from a small model is poor" in first


@pytest.mark.parametrize(
    ("temperature", "top_p", "expected"),
    [
        (1.0, 1.0, [0.5, 0.3, 0.15, 0.05]),
        (1.0, 0.9, [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0]),  # .5 + .3 < .9 <= .5 + .3 + .15
        (1.0, 0.5, [1, 0, 0, 0]),
        (0.5, 1.0, [0.25 / 0.365, 0.09 / 0.365, 0.0225 / 0.365, 0.0025 / 0.365]),  # squares, renormalised
        (2.0, 0.01, [1, 0, 0, 0]),
    ],
)
def test_samples_come_as_often_as_the_nucleus_says(temperature: float, top_p: float, expected: list[float]) -> None:
    probabilities = torch.tensor([0.05, 0.5, 0.15, 0.3])  # tokens 1, 3, 2, 0 by rank
    generator, draws = torch.Generator().manual_seed(0), 3000
    samples = [sample_token(probabilities.log(), temperature, top_p, generator) for _ in range(draws)]
    frequency = np.bincount(samples, minlength=4)[[1, 3, 2, 0]] / draws
    sigma = np.sqrt(np.array(expected) * (1 - np.array(expected)) / draws)
    assert (np.abs(frequency - expected) <= 4 * sigma).all()


@pytest.mark.parametrize("name", ["masked", "ahead"])
@torch.no_grad()
def test_guesses_are_the_heads_own(name: str, stage: Stage) -> None:
    """Oracle: `score`, whose accuracy counts the hits and whose nats are -ln of the right tokens' probabilities."""
    objective: Any = stage.module.objectives[name]
    view = replace(objective.corruption.validating(), mask_share=1.0, random_share=0.0).corrupt(
        stage.excerpt(), stage.module.vocabulary
    )
    scored = objective.score(stage.hidden(view), view, stage.module.backbone.embedding)
    given = masked_probabilities(objective, stage, view)
    torch.testing.assert_close(-given.gather(1, view.targets[:, None]).log().sum(), scored.sums["loss"])
    lines = list(filled(objective, stage))
    verdicts = [line.split()[1] == "hit" for line in lines if "guesses:" in line]
    assert verdicts == scored.observed["accuracy"][0].bool().tolist()
    for line, best in zip((line for line in lines if "guesses:" in line), given.argmax(1).tolist(), strict=True):
        assert line.split("guesses: ")[1].startswith(stage.token(best))
    assert f"[{len(verdicts)}]" in " ".join(line for line in lines if "guesses:" not in line)


@torch.no_grad()
def test_replaced_tokens_are_all_shown_with_what_they_were(stage: Stage) -> None:
    """Oracle: the discriminator's labels and scores on the same view."""
    objective: Any = stage.module.objectives["replaced"]
    rows, embeddings = stage.excerpt(), stage.module.backbone.embeddings()
    view = objective.complete(objective.corruption.validating().corrupt(rows, stage.module.vocabulary), embeddings)
    scores = objective.logits(stage.hidden(view)).sigmoid()[0]
    lines = list(detected(objective, stage))
    replaced = view.extra["labels"][0].bool()
    words = [line.split()[1] for line in lines if " replaced   " in line]
    assert words.count("hit") == int((replaced & (scores > 0.5)).sum())
    assert words.count("miss") == int((replaced & (scores <= 0.5)).sum())
    assert words.count("alarm") == int((~replaced & (scores > 0.5)).sum())
    assert words.count("hit") + words.count("miss") > 0
    for at in replaced.nonzero().flatten().tolist():
        token, was = stage.token(int(view.ids[0, at])), stage.token(int(rows.ids[0, at]))
        assert any(token in line and line.endswith(f"was {was}") for line in lines)


def test_both_orders_of_a_pair_are_judged(stage: Stage) -> None:
    """Oracle: a head that always answers in order, with log-odds of 2 ln 3, is 90 % right once and wrong once."""
    objective: Any = stage.module.objectives["order"]
    saved = {name: value.clone() for name, value in objective.state_dict().items()}
    with torch.no_grad():
        objective.classifier.weight.zero_()
        objective.classifier.bias.copy_(torch.tensor([math.log(3), -math.log(3)]))
        first, second, *verdicts = judged(objective, stage)
        objective.load_state_dict(saved)
    assert verdicts == [
        "  hit  shown in their order  judged so with 90%",
        "  miss shown swapped         judged so with 10%",
    ]
    told = first.removeprefix("  first:").strip() + " " + second.removeprefix("  second:").strip()
    assert _TEXT.startswith(told)


def test_swapping_a_pair_moves_its_segments_as_the_corruption_would() -> None:
    pair = Rows(
        keys=np.zeros(1, dtype=np.uint64),
        ids=np.array([[1, 5, 6, 7, 2, 8, 9, 2, 0, 0]]),
        lengths=np.array([8]),
        segments=np.array([[0, 0, 0, 0, 0, 1, 1, 1, 0, 0]]),
        labels=np.array([0]),
    )
    swapped = swap(pair)
    assert swapped.ids.tolist() == [[1, 8, 9, 2, 5, 6, 7, 2, 0, 0]]
    assert swapped.segments is not None and swapped.segments.tolist() == [[0, 0, 0, 0, 1, 1, 1, 1, 0, 0]]
    assert swapped.labels is not None and swapped.labels.tolist() == [1]
    assert swap(swapped).ids.tolist() == pair.ids.tolist()


def test_a_text_of_one_sentence_and_longer_than_the_window_is_shown(
    tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = printed(capsys, str(tiny_run), text="dog " * 60, tokens=40)
    assert "no two sentences in a paragraph that fit the window together" in out
    assert "on your text" in out


def test_the_excerpt_ends_with_a_sentence(stage: Stage) -> None:
    rows = stage.excerpt()
    assert rows.ids.shape[1] <= stage.module.window
    assert stage.decode(rows.ids[0].tolist()).endswith(".")


def test_without_the_runs_tokens_the_paragraph_is_a_built_in_one(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = torch.load(tiny_run, weights_only=True)
    checkpoint["lm_objectives"]["cache"] = str(tmp_path / "gone")
    torch.save(checkpoint, tmp_path / "a.ckpt")
    assert "on a built-in paragraph" in printed(capsys, str(tmp_path / "a.ckpt"), tokens=1)


def test_the_held_out_paragraph_is_held_out_and_fits(tiny_run: Path) -> None:
    run = open_run(str(tiny_run))
    assert run.cache is not None
    held_out = np.load(run.cache / "validation" / "tokens.npy").tolist()
    chosen = held_out_paragraph(run.cache, run.tokenizer, 32, seed=3)
    assert chosen is not None and chosen in run.tokenizer.decode(held_out)
    assert len(run.tokenizer(chosen)["input_ids"]) <= 29
    assert held_out_paragraph(run.cache, run.tokenizer, 8, seed=3) is None


class Own(CausalLM):
    """An objective of a user's own."""


def test_an_objective_of_ones_own_is_said_to_have_no_demo(train: Any, capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, str(train(Backbone("bert", FAMILIES["bert"]), {"mine": Own()})))
    assert out.endswith("\nmine (Own)\n  the demo has nothing to show for the class Own\n")


def test_families_with_other_attention_can_be_shown(train: Any) -> None:
    objectives = {"causal": CausalLM(), "replaced": ReplacedToken()}
    for family in ("gpt2", "modernbert", "electra"):
        run = open_run(str(train(Backbone(family, FAMILIES[family]), objectives)))
        assert len(list(show(set_stage(run, _TEXT, 3, 1.0, 1.0, 0)))) > 8


def test_verdicts_are_colored_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert paint("   [1] hit  a miss") == "   [1] hit  a miss"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert paint("   [1] hit  a miss") == "   [1] \033[32mhit\033[0m  a miss"
    monkeypatch.setenv("NO_COLOR", "1")
    assert paint("   [1] hit  a miss") == "   [1] hit  a miss"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tokens": 0}, "expected at least 1 token to continue with, found 0"),
        ({"temperature": 0.0}, r"expected a temperature above 0, found 0\.0"),
        ({"temperature": float("nan")}, "expected a temperature above 0, found nan"),
        ({"top_p": 0.0}, r"expected top_p above 0 and at most 1, found 0\.0"),
        ({"top_p": 1.5}, r"expected top_p above 0 and at most 1, found 1\.5"),
        ({"text": " "}, "expected a text with words, found an empty one"),
        ({}, r"expected a checkpoint at none\.ckpt, found no such file"),
    ],
)
def test_bad_settings_are_one_clear_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        demo("none.ckpt", **settings)
