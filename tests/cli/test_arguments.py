"""Command lines in which a class takes another's place: oracle, the line that a careful user would write."""

from pathlib import Path

import pytest

from lm_objectives.cli.arguments import config_paths, reset_changed_plugins

FILES = {
    "muon.yaml": "model: {optimizer: {class_path: lm_objectives.optim.Muon, init_args: {lr: 0.02}}}",
    "adamw.yaml": "model: {optimizer: AdamW}",
    "data.yaml": "data: {window: 8}",
    "nothing.yaml": "",
}
RESET = ["--model.optimizer", "null"]


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        Path(name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["--config", "muon.yaml"], ["--model.optimizer", "AdamW"]),
        (["--config=muon.yaml"], ["--model.optimizer=AdamW"]),
        (["-c", "muon.yaml"], ["--config", "adamw.yaml"]),
        (["--config", "muon.yaml", "--config", "data.yaml"], ["--model.optimizer", "{class_path: AdamW}"]),
        (["--model.optimizer", "Muon", "--model.optimizer.lr", "1"], ["--model.optimizer.class_path", "AdamW"]),
    ],
)
def test_what_was_set_for_another_class_is_dropped(before: list[str], after: list[str]) -> None:
    assert reset_changed_plugins([*before, *after, "--data.seq_len", "8"]) == [
        *before,
        *RESET,
        *after,
        "--data.seq_len",
        "8",
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--config", "muon.yaml", "--model.optimizer", "Muon"],
        ["--config", "muon.yaml", "--model.optimizer.lr", "1"],
        ["--config", "muon.yaml", "--config", "nothing.yaml", "--model.balancer", "FAMO"],
        ["--model.optimizer", "AdamW", "--config", "adamw.yaml"],
        ["--model.optimizer", "{class_path: ["],
        ["--model.optimizer"],
    ],
)
def test_everything_else_is_left_as_it_is(arguments: list[str]) -> None:
    assert reset_changed_plugins(arguments) == arguments


def test_config_files_by_each_spelling() -> None:
    assert list(config_paths(["--config", "a", "-c", "b", "--config=c", "--config"])) == [Path(n) for n in "abc"]
