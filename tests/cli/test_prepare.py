"""`lm-objectives prepare`, from the same settings as `fit`."""

import fcntl
import gzip
import json
import logging
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from utils.small_corpus import BACKBONE, ROWS, TOKENS, WINDOW, write_corpus

from lm_objectives.__main__ import main
from lm_objectives.data.cache import open_cache

FIT = ["fit", "--config", "tiny.yaml", "--trainer.accelerator", "cpu", "--trainer.devices", "1",
       "--trainer.precision", "32-true"]  # fmt: skip


@pytest.fixture(autouse=True)
def stderr_of_each_test() -> Iterator[None]:
    """The command's log lines go to the stderr that it first saw, which here is another one for each test."""
    yield
    logging.getLogger("lm_objectives").handlers.clear()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a corpus and `tiny.yaml`."""
    settings = {
        "trainer": {"accelerator": "gpu", "devices": 4, "max_steps": 2, "precision": "bf16-mixed"},
        "tracking": {"wandb": "off"},
        "model": {
            "backbone": {"model_type": "llama", "config": BACKBONE},
            "objectives": {"causal": "CausalLM", "order": "SentenceOrder"},
        },
        "data": {
            "corpus": str(write_corpus(tmp_path / "corpus.jsonl")),
            "tokenizer": TOKENS,
            "seq_len": WINDOW,
            "global_batch_size": ROWS,
            "batch_multiple": 2,
            "cache": "cache",
        },
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def prepare(*arguments: str) -> int:
    return main(["prepare", "--config", "tiny.yaml", *arguments])


def test_summary_again_and_nothing_but_the_cache(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    assert prepare() == 0
    out, err = capfd.readouterr()
    found = open_cache(next((place / "cache").glob("tokens-*")))
    assert re.search(r"documents +26: 22 for training, 4 held out", out)
    assert f"{len(found.training.tokens):,} for training" in out
    assert [line.split(":")[0] for line in err.splitlines()] == ["reading", "tokenizer", "tokens"]
    assert sorted(path.name for path in place.iterdir()) == ["cache", "corpus.jsonl", "tiny.yaml"]
    assert prepare() == 0
    assert capfd.readouterr() == (out, "")


def test_fit_finds_what_was_prepared_and_else_prepares(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fit = [*FIT, "--trainer.limit_val_batches", "0", "--data.num_workers", "1"]
    assert main([*fit, "--data.seed", "1"]) == 0
    said = capfd.readouterr().err
    assert re.search(r"^tokens: 26 documents in", said, re.MULTILINE)
    assert "huggingface/tokenizers" not in said
    assert prepare() == 0
    capfd.readouterr()
    assert main(fit) == 0
    assert "tokens:" not in capfd.readouterr().err


def test_several_corpora_by_pattern(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (place / "more").mkdir()
    for number in range(4):
        (place / "more" / f"{number}.txt").write_text(f"More {number}. Much more.\n\nAnd {number} more. Yes." * 9)
    assert prepare("--data.corpus", "[corpus.jsonl, 'more/*.txt']") == 0
    found = open_cache(next((place / "cache").glob("tokens-*")))
    sizes = np.diff(found.training.corpora)
    assert f"corpora     2, with {sizes[0]:,}, {sizes[1]:,} training tokens" in capfd.readouterr().out


BAD = {
    "missing": ([], None, r"expected the path of a corpus, found nothing at bad: check"),
    "empty": ("a.txt", b"", r"expected documents with text, found only empty ones in bad/a.txt: check"),
    "no readable file": ("a.doc", b"", r"expected a corpus as .txt, .*, found bad/a.doc: convert"),
    "wrong field": ("a.jsonl", b'{"txt": "a"}', r"expected a text field 'text', found txt in bad/a.jsonl: set .*'txt'"),
    "broken JSON": (
        "a.jsonl",
        b'{"text": "a"}\n{',
        r"expected JSON in bad/a.jsonl, found a mistake in line 2 \(.*\): mend",
    ),
    "not UTF-8": ("a.txt", b"ab\xe9", r"expected text in UTF-8, found something else in bad/a.txt at byte 2: convert"),
    "cut off": ("a.txt.gz", gzip.compress(b"a" * 999)[:-9], r"to its end, found bad/a.txt.gz \(.*\): check it"),
    "one paragraph": (
        "a.txt",
        b"A. B.",
        r"expected a corpus of two documents, two paragraphs or two lines, .* found 1: add text",
    ),
    "equal": (
        "a.jsonl",
        b'{"text": "a"}\n' * 9,
        r"expected two different documents, .* found the same one .*: add text",
    ),
    "smaller than a step": (
        "a.jsonl",
        b'{"text": "a"}\n{"text": "b"}\n',
        r"expected a training text of at least one step, .* found",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_corpus_is_one_line_and_leaves_nothing(case: str, place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    name, content, told = BAD[case]
    if content is not None:
        (place / "bad").mkdir()
        (place / "bad" / name).write_bytes(content)
    capfd.readouterr()
    assert prepare("--data.corpus", f"bad/{name}" if content is not None else "bad") == 2
    *stages, last = capfd.readouterr().err.splitlines()
    assert re.search(f"^lm-objectives: error: .*{told}", last)
    assert all(re.match("(reading|tokenizer|tokens): ", line) for line in stages)
    assert not (place / "cache").exists() or case == "smaller than a step"


@pytest.mark.parametrize("command", ["prepare", "fit"])
def test_documents_too_short_for_pairs(command: str, place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lines = [json.dumps({"text": f"Document number {number} says one thing only."}) for number in range(99)]
    (place / "short.jsonl").write_text("\n".join(lines))
    capfd.readouterr()
    assert main([command, *FIT[1:], "--data.corpus", "short.jsonl"]) == 2
    last = capfd.readouterr().err.splitlines()[-1]
    assert re.search(
        r"error: expected a training text with windows for objective order, found none: its documents are too short",
        last,
    )
    assert not (place / "runs").exists()


def test_held_out_documents_too_short_for_pairs(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    more = "It rained all day. Nobody minded. The road was closed. " * 40
    (place / "two.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in ("One thing.", more)))
    capfd.readouterr()
    assert main([*FIT, "--data.corpus", "two.jsonl", "--data.global_batch_size", "4", "--data.split_seed", "1"]) == 2
    last = capfd.readouterr().err.splitlines()[-1]
    assert "error: expected a validation text with windows for objective order, found none: its documents are" in last
    assert not (place / "runs").exists()


def test_ctrl_c_says_how_to_go_on(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lm_objectives.data.preparation.prepare.encode_chunks", interrupted)
        assert prepare() == 130
    [partial] = (place / "cache").iterdir()
    assert (
        capfd.readouterr().err.splitlines()[-1] == f"what is done stays in {partial}: the same command goes on from it"
    )
    assert prepare() == 0


def test_bar_on_a_terminal(place: Path) -> None:
    """A pseudo-terminal sees the three bars; tokens and tokens a second stand beside the last."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("4H", 40, 150, 0, 0))
    command = [sys.executable, "-m", "lm_objectives", "prepare", "--config", "tiny.yaml"]
    with subprocess.Popen(command, stderr=follower, stdout=subprocess.DEVNULL) as run:
        os.close(follower)
        seen = b""
        while True:
            try:
                part = os.read(leader, 4096)
            except OSError:  # Linux says so that the other side is closed
                break
            if not part:
                break
            seen += part
    os.close(leader)
    assert run.returncode == 0
    for pattern in (
        r"reading: 26.*documents",
        r"tokenizer: .*characters",
        r"tokens: 100%.*26.*tokens, [\d,]+ tokens/s",
    ):
        assert re.search(pattern, seen.decode()), pattern
