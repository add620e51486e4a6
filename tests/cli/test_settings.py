"""Settings by file and flag, as `--print_config` shows them."""

from pathlib import Path

import pytest
import yaml
from utils.command_line import printed, run
from utils.small_corpus import ROWS, WINDOW


def test_what_every_run_wants_need_not_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    """And what a configuration does write counts."""
    defaults = {"log_every_n_steps": 10, "val_check_interval": 200, "check_val_every_n_epoch": None}
    defaults |= {"num_sanity_val_steps": 0, "enable_model_summary": False}
    for flags, changes in ([], {}), (["--trainer.val_check_interval", "7"], {"val_check_interval": 7}):
        model = ["--model.backbone.model_type", "llama", "--model.objectives.causal", "CausalLM"]
        assert run("fit", *model, *flags, "--print_config") == 0
        trainer = yaml.safe_load(capsys.readouterr().out)["trainer"]
        assert {name: trainer[name] for name in defaults} == defaults | changes


def test_print_config_fed_back_prints_the_same(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = printed(capsys, "fit", "--config", place / "tiny.yaml", "--model.balancer", "GradNorm")
    (tmp_path / "printed.yaml").write_text(yaml.safe_dump(first), encoding="utf-8")
    assert printed(capsys, "fit", "--config", tmp_path / "printed.yaml") == first
    assert first["data"]["seq_len"] == WINDOW and first["seed_everything"] == 0
    assert first["model"]["balancer"]["class_path"] == "lm_objectives.GradNorm"


def test_a_second_file_lies_over_the_first(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    over = {"model": {"objectives": {"order": "SentenceOrder"}, "balancer": "Uncertainty"}, "data": {"seq_len": 64}}
    (tmp_path / "over.yaml").write_text(yaml.safe_dump(over), encoding="utf-8")
    files = ["--config", place / "tiny.yaml", "--config", tmp_path / "over.yaml"]
    got = printed(capsys, "fit", *files, "--data.seq_len", 96)
    assert list(got["model"]["objectives"]) == ["order"]
    assert got["model"]["balancer"]["class_path"] == "lm_objectives.Uncertainty"
    assert (got["data"]["seq_len"], got["data"]["global_batch_size"]) == (96, ROWS)


def test_short_names_by_flag(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--model.objectives.more", "MaskedLM", "--model.objectives.more.mask_rate", 0.4]
    got = printed(capsys, "fit", "--config", place / "tiny.yaml", *flags, "--model.balancer", "GradNorm",
                  "--model.balancer.alpha", 0.5)  # fmt: skip
    assert got["model"]["objectives"]["more"]["init_args"]["mask_rate"] == 0.4
    assert got["model"]["objectives"]["masked"]["init_args"]["mask_rate"] == 0.3
    assert got["model"]["balancer"]["init_args"]["alpha"] == 0.5


def test_a_class_in_anothers_place_begins_with_its_own_arguments(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Oracle: the defaults in the signatures. A rate of Muon's would be far too high for AdamW."""
    muon = {"model": {"optimizer": {"class_path": "Muon", "init_args": {"lr": 0.5, "momentum": 0.9}}}}
    adam = {"model": {"optimizer": {"class_path": "AdamW", "init_args": {"weight_decay": 0.3}}}}
    for name, settings in {"muon": muon, "adam": adam}.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    files = ["--config", place / "tiny.yaml", "--config", tmp_path / "muon.yaml"]
    by_flag = printed(capsys, "fit", *files, "--model.optimizer", "AdamW")["model"]["optimizer"]
    assert by_flag["class_path"] == "torch.optim.AdamW" and by_flag["init_args"]["lr"] == 1e-3
    by_file = printed(capsys, "fit", *files, "--config", tmp_path / "adam.yaml")["model"]["optimizer"]["init_args"]
    assert (by_file["lr"], by_file["weight_decay"]) == (1e-3, 0.3)
    same = printed(capsys, "fit", *files, "--model.optimizer", "Muon", "--model.optimizer.eps", 1e-6)
    assert same["model"]["optimizer"]["init_args"]["lr"] == 0.5
    balancer = ["--model.balancer", "GradNorm", "--model.balancer.learning_rate", 0.5, "--model.balancer", "FAMO"]
    assert printed(capsys, "fit", *files, *balancer)["model"]["balancer"]["init_args"]["learning_rate"] == 0.025
