"""What `--help` shows, and what it need not load."""

import re
import subprocess
import sys

import pytest
from utils.command_line import environment, run


def test_help_has_each_setting_with_its_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run("fit", "--help") == 0
    text = capsys.readouterr().out
    for setting in (
        "corpus",
        "text_field",
        "language",
        "tokenizer",
        "seq_len",
        "global_batch_size",
        "num_workers",
        "seed",
    ):
        assert re.search(rf"--data\.{setting} .*\n? +[\w\W]+?\(type: ", text), setting
    for setting in ("backbone", "objectives", "balancer", "optimizer", "lr_schedule"):
        assert f"--model.{setting} " in text, setting
    assert "tokens in a row" in text and "rows in an optimizer step" in text
    titles = (
        "One backbone that learns",
        "Batches with rows for each",
        "Which loggers a run has",
        "Lightning's Trainer",
    )
    assert (found := [text.index(title) for title in titles]) == sorted(found)


def test_an_optimizers_help_lists_what_a_user_gives(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("Muon", "SGD"):
        assert run("fit", "--model.optimizer.help", name) == 0
        shown = capsys.readouterr().out
        assert "--model.optimizer.lr" in shown and "--model.optimizer.params" not in shown


def test_help_imports_neither_torch_nor_lightning() -> None:
    code = (
        "import sys; from lm_objectives.__main__ import main; main(['--help']);"
        "print(*({'torch', 'lightning', 'transformers', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)
    assert done.stderr.split() == []
