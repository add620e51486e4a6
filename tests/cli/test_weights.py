"""`--weights`: a new run with the weights of another."""

import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from utils.command_line import complaint, contents, fit, run, table, weights

CONSTANT = ["--model.lr_schedule", "{kind: constant, warmup: 0}", "--trainer.limit_val_batches", "0"]
STILL = [*CONSTANT, "--model.optimizer", "SGD", "--model.optimizer.lr", "0.0"]


def test_a_new_run_begins_with_the_weights(
    place: Path, trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Oracle: the checkpoint itself, since a rate of 0 moves nothing. Optimizer, balancer and schedule are others."""
    last, root = trained / "checkpoints" / "last.ckpt", tmp_path / "run"
    others = ["--model.balancer", "GradNorm", "--model.objectives.more", "SentenceOrder", "--trainer.max_steps", "2"]
    alone = tmp_path / "two.yaml"
    alone.write_text("model: {objectives: {causal: CausalLM, masked: MaskedLM, more: SentenceOrder}}", encoding="utf-8")
    capfd.readouterr()
    assert fit(place, root, *STILL, *others, "--config", alone, "--weights", last) == 0
    assert (
        f"{last}: begins with the backbone, and the heads of masked; fresh: more; not used: order"
        in capfd.readouterr().err
    )
    began, made = weights(last), weights(root / "checkpoints" / "last.ckpt")
    taken = {name for name in began if name.startswith(("backbone.", "objectives.masked."))}
    assert taken and all(torch.equal(began[name], made[name]) for name in taken)
    assert [row["step"] for row in table(root)] == ["0", "1"]
    assert yaml.safe_load((root / "config.yaml").read_text(encoding="utf-8"))["weights"] == str(last)
    capfd.readouterr()
    assert run("fit", "--config", root / "config.yaml", "--ckpt_path", "last", "--trainer.max_steps", "3") == 0
    assert "begins with" not in capfd.readouterr().err, "a run that goes on has its own weights"
    assert len(table(root)) == 3


def test_weights_of_the_run_before_in_the_same_folder(place: Path, trained: Path, tmp_path: Path) -> None:
    """It is set aside once they are read, and `config.yaml` says where they are now."""
    root = tmp_path / "run"
    shutil.copytree(trained, root)
    assert fit(place, root, *STILL, "--weights", root / "checkpoints" / "last.ckpt") == 0
    began = yaml.safe_load((root / "config.yaml").read_text(encoding="utf-8"))["weights"]
    assert Path(began).resolve() == (root / "previous" / "1" / "checkpoints" / "last.ckpt").resolve()
    one, other = weights(Path(began)), weights(root / "checkpoints" / "last.ckpt")
    assert all(torch.equal(one[name], other[name]) for name in one if name.startswith("backbone."))


@pytest.mark.parametrize(
    ("command", "given", "told"),
    [
        ("fit", ["--ckpt_path", "last"], r"expected either --ckpt_path or --weights, found both: --ckpt_path goes on"),
        ("validate", [], r"expected no --weights for validate, found one: --ckpt_path is what it reads"),
        ("prepare", [], r"expected no --weights for prepare, found one: "),
        ("fit", ["--weights", "nope.ckpt"], r"expected a checkpoint at nope.ckpt, found no such file: check the path"),
        ("fit", ["--model.backbone.config.intermediate_size", "48"], r"expected weights of this backbone at "),
        ("fit", ["--model.backbone.config.num_hidden_layers", "3"], r"layers.2.* is nothing and here \(32, 32\): give"),
        (
            "fit",
            ["--data.tokenizer", "290"],
            r"expected the tokenizer that .*last.ckpt was trained with, found another",
        ),
    ],
)
def test_what_cannot_begin_is_told_in_one_line(
    command: str, given: list[str], told: str, place: Path, trained: Path, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    arguments = [command, "--config", place / "tiny.yaml", "--trainer.default_root_dir", tmp_path / "run"]
    cold = ["--data.cache", tmp_path / "cache"] if "290" in given else []
    assert run(*arguments, *cold, "--weights", trained / "checkpoints" / "last.ckpt", *given) == 2
    lines = capfd.readouterr().err.splitlines()
    assert re.search(told, lines[-1]) and not (tmp_path / "run").exists()


def test_nothing_is_written_where_both_are_given(place: Path, trained: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = contents(trained)
    capfd.readouterr()
    assert fit(place, trained, "--ckpt_path", "last", "--weights", trained / "checkpoints" / "last.ckpt") == 2
    assert "found both" in complaint(capfd)
    assert contents(trained) == before
