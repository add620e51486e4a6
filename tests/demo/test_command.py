"""The command: what it prints, and that a text or a setting that does not do is one line and exit code 2."""

from pathlib import Path
from typing import Any

import pytest

from lm_objectives.__main__ import main
from lm_objectives.demo.command import demo, read_text, show_all
from lm_objectives.demo.context import DemoContext
from lm_objectives.objectives import (
    CausalLM,
    MaskedLM,
    NextSentence,
    PrefixLM,
    ReplacedToken,
    SentenceOrder,
    SpanDenoising,
    TextDenoising,
)


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
    ("family", "objectives"),
    [
        ("gpt2", {"causal": CausalLM(), "replaced": ReplacedToken()}),
        ("modernbert", {"causal": CausalLM(), "replaced": ReplacedToken()}),
        ("electra", {"replaced": ReplacedToken(), "order": SentenceOrder()}),
        ("bert", {"next": NextSentence(), "masked": MaskedLM(shares_rows_with="next")}),
        ("llama", {"prefix": PrefixLM(), "spans": SpanDenoising(layout="prefix")}),
        ("t5", {"spans": SpanDenoising(), "masked": MaskedLM()}),
        ("bart", {"text": TextDenoising(), "masked": MaskedLM()}),
    ],
)
def test_each_objective_is_shown_on_its_families(family: str, objectives: dict[str, Any], context_for: Any) -> None:
    made: DemoContext = context_for(family, objectives)
    shown = show_all(made)
    assert "expected" not in "".join(shown)
    headings = [f"{name} ({type(objective).__name__})" for name, objective in sorted(objectives.items())]
    assert [line for line in shown if line in headings] == headings
    assert len(shown) >= 5 * len(objectives)
    assert all(len(line) <= 80 for line in shown if not line.startswith("  mean probability"))


def test_a_text_too_short_for_one_objective_is_shown_to_the_others(
    tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--ckpt_path", str(tiny_run), "--text", "dog " * 60]) == 0
    out = capsys.readouterr().out
    assert "on your text" in out and out.count("guesses:") > 2 and "mean probability of being replaced" in out
    assert "expected two sentences in a paragraph that fit the window of 32 tokens" in out


def test_switches_and_files_come_from_the_command_line(
    tiny_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("The dog ran home. A cat sat away.", encoding="utf-8")
    told = []
    for more in (["--greedy"], ["--greedy", "true", "--seed", "0"], ["--greedy", "false"]):
        assert main(["demo", "--ckpt_path", str(tiny_run), "--text_file", str(tmp_path / "a.txt"), *more]) == 0
        told.append(capfd.readouterr().out)
    assert told[0] == told[1] != told[2] and "given:      The dog ran home. A cat sat away." in told[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["--temperature", "0"], "expected a temperature above 0, found 0.0"),
        (["--top_p", "1.5"], "expected top_p above 0 and at most 1, found 1.5"),
        (["--tokens", "0"], "expected at least 1 token to continue with, found 0"),
        (["--text", " "], "expected a text with words, found an empty one"),
        (["--text_file", "none.txt"], "expected a text file at none.txt, found no such file"),
        ([], "expected a checkpoint at none.ckpt, found no such file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    settings: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--ckpt_path", "none.ckpt", *settings]) == 2
    out, error = capfd.readouterr()
    assert out == "" and error.count("\n") == 1 and message in error


def test_a_text_comes_from_the_command_line_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffÜber den Fluß.\n".encode())
    assert read_text(None, str(tmp_path / "a.txt")) == "Über den Fluß.\n"
    assert read_text("It rained.", None) == "It rained."
    assert read_text(None, None) is None


@pytest.mark.parametrize(
    ("text", "content", "message"),
    [
        (" ", None, "^expected a text with words, found an empty one: leave text out"),
        (None, None, "^expected a text file at .*a.txt, found no such file: check the path"),
        (None, b"\n \n", "^expected a text with words, found an empty one"),
        (None, b"abc\xff", "^expected UTF-8 text in .*a.txt, found other bytes at offset 3: convert"),
        ("Both.", b"Both.", "^expected either text or text_file, found both: leave one"),
    ],
)
def test_what_is_no_text_is_one_clear_line(
    text: str | None, content: bytes | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as raised:
        read_text(text, str(path) if content is not None or text is None else None)
    assert "\n" not in str(raised.value)
