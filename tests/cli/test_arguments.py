"""Command lines in which a class takes another's place: oracle, the line that a careful user would write."""

from pathlib import Path

import pytest

from lm_objectives.cli.arguments import check_known, read_settings, reset_changed_plugins
from lm_objectives.errors import InputError

FILES = {
    "muon.yaml": "model: {optimizer: {class_path: lm_objectives.optim.Muon, init_args: {lr: 0.02}}}",
    "adamw.yaml": "model: {optimizer: AdamW}",
    "data.yaml": "data: {seq_len: 8}",
    "nothing.yaml": "",
    "null.yaml": "data: null",
    "twice.yaml": "seq_len: 8\nseq_len: 9",
}
RESET = ["--model.optimizer", "null"]


def reset(arguments: list[str]) -> list[str]:
    return reset_changed_plugins(arguments, read_settings(arguments))


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
    assert reset([*before, *after, "--data.seq_len", "8"]) == [
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
    assert reset(arguments) == arguments


def test_settings_by_each_spelling() -> None:
    arguments = ["--config", "muon.yaml", "-c", "data.yaml", "--config=nothing.yaml"]
    arguments += ["--data.corpus+=a", "--data.cache", "b", "--model.balancer", "{class_path: FAMO}", "--help"]
    muon = "model.optimizer"
    assert list(read_settings(arguments)) == [
        (0, Path("muon.yaml"), f"{muon}.class_path", "lm_objectives.optim.Muon"),
        (0, Path("muon.yaml"), f"{muon}.init_args.lr", 0.02),
        (2, Path("data.yaml"), "data.seq_len", 8),
        (5, None, "data.corpus", "a"),
        (6, None, "data.cache", "b"),
        (8, None, "model.balancer.class_path", "FAMO"),
        (10, None, "help", None),
    ]


KNOWN = ["data", "data.seq_len", "model.balancer", "help"]


@pytest.mark.parametrize(
    "arguments",
    [["--data.seq_len", "8"], ["--model.balancer.alpha", "1"], ["--data", "data.yaml"], ["--help"], ["foo"]],
)
def test_known_settings_and_those_of_a_class_pass(arguments: list[str]) -> None:
    check_known(read_settings(arguments), KNOWN)


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--data.seq", "8"], "settings, found data.seq: did you mean data.seq_len"),
        (["--data={seq: 8}"], "settings, found data.seq: did you mean data.seq_len"),
        (["--modl={}"], "settings, found modl: there are data, data.seq_len, model.balancer"),
        (["--config", "muon.yaml"], "settings in muon.yaml, found model.optimizer.class_path"),
        (
            ["--config", "null.yaml"],
            "settings below data in null.yaml, found null: write settings below data, or leave",
        ),
        (["--data", "null"], "settings below data, found null: write"),
        (["--data", "3"], "settings below data, found 3: write"),
        (["--data", "x.yaml"], "a config file at x.yaml, found none: check the path of data"),
        (["--data", "twice.yaml"], "each key once in twice.yaml, found seq_len on line 1 and again on line 2"),
        (["--data={seq_len: 8, seq_len: 9}"], "each key once in --data, found seq_len on line 1 and again on line 1"),
    ],
)
def test_unknown_settings(arguments: list[str], found: str) -> None:
    with pytest.raises(InputError, match=found):
        check_known(read_settings(arguments), KNOWN)
