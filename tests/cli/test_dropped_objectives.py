"""Objectives that are set to null: oracle, the command line of a user who never named them."""

from pathlib import Path

import pytest
import yaml
from utils.command_line import complaint, fit, printed

from lm_objectives.cli.dropped_objectives import drop_objectives
from lm_objectives.errors import InputError

NULL = "--model.objectives.order=null"


def objectives(capsys: pytest.CaptureFixture[str], place: Path, *arguments: object) -> dict:
    return printed(capsys, "fit", "--config", place / "tiny.yaml", *arguments)["model"]["objectives"]


def test_a_null_drops_one_and_leaves_the_others(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    over = tmp_path / "over.yaml"
    over.write_text("{model: {objectives: {order: null}}, data: {seq_len: 64}}", encoding="utf-8")
    whole = objectives(capsys, place)
    expected = {name: whole[name] for name in ("causal", "masked")}
    assert objectives(capsys, place, "--config", over) == expected
    assert objectives(capsys, place, "--model.objectives.order", "null") == expected
    assert objectives(capsys, place, "--model.objectives.order.share", 2, NULL) == expected
    assert objectives(capsys, place, "--model.objectives", "{order: null}") == expected
    got = printed(capsys, "fit", "--config", place / "tiny.yaml", "--config", over)
    assert got["data"]["seq_len"] == 64 and got["trainer"]["max_steps"] == 3


def test_a_null_beside_others_lays_these_over_the_earlier_ones(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    got = objectives(capsys, place, "--model", "{objectives: {order: null, more: {class_path: MaskedLM}}}")
    assert list(got) == ["causal", "masked", "more"]


def test_a_name_that_was_dropped_can_be_given_again(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    masked = ["--model.objectives.masked", "null", "--model.objectives.masked", "MaskedLM"]
    assert objectives(capsys, place, *masked)["masked"]["init_args"]["mask_rate"] == 0.15  # no longer 0.3


def test_a_command_line_without_nulls_is_left_as_it_is(place: Path) -> None:
    arguments = ["-c", str(place / "tiny.yaml"), "--data.seq_len", "8", "--print_config", "--data.cache=x", "y"]
    assert drop_objectives(arguments) == arguments


def test_a_file_is_written_out_without_the_dropped_one(tmp_path: Path) -> None:
    file = tmp_path / "one.yaml"
    file.write_text("{model: {objectives: {order: SentenceOrder, causal: CausalLM}}, data: {seq_len: 8}}")
    [config, *rest] = drop_objectives(["--config", str(file), "--data.seq_len", "16", NULL])
    assert yaml.safe_load(config.removeprefix("--config=")) == {
        "model": {"objectives": {"causal": "CausalLM"}},
        "data": {"seq_len": 8},
    }
    assert rest == ["--data.seq_len", "16"]


def test_a_null_that_drops_nothing() -> None:
    with pytest.raises(InputError, match=r"to drop with null in model.objectives, found order: there are causal"):
        drop_objectives(["--model.objectives.causal", "CausalLM", NULL])


def test_the_last_objective_cannot_go(place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    nulls = [f"--model.objectives.{name}=null" for name in ("causal", "masked", "order")]
    assert fit(place, tmp_path / "run", *nulls) == 2
    assert "expected at least one objective" in complaint(capfd)
