"""The command line, in this process but for a handful of real ones."""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch.utilities.exceptions import SIGTERMException
from utils.small_corpus import BACKBONE, ROWS, TOKENS, WINDOW, write_corpus

from lm_objectives import __main__ as command_line
from lm_objectives.cli import main as cli
from lm_objectives.training.checkpoint import KEY

PROGRAM = [sys.executable, "-m", "lm_objectives"]
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def process_as_before() -> Iterator[None]:
    """Lightning leaves a process deaf to Ctrl-C."""
    ctrl_c, path = signal.getsignal(signal.SIGINT), list(sys.path)
    yield
    signal.signal(signal.SIGINT, ctrl_c)
    sys.path[:] = path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus, its token cache, and `tiny.yaml`."""
    place = tmp_path_factory.mktemp("cli")
    write_corpus(place / "corpus.jsonl")
    settings = {
        "trainer": {
            "accelerator": "cpu",
            "max_steps": 3,
            "log_every_n_steps": 1,
            "val_check_interval": 3,
            "check_val_every_n_epoch": None,
            "num_sanity_val_steps": 0,
            "enable_model_summary": False,
        },
        "tracking": {"wandb": "off"},
        "model": {
            "backbone": {"model_type": "llama", "config": BACKBONE | {"max_position_embeddings": 256}},
            "objectives": {
                "causal": "CausalLM",
                "masked": {"class_path": "MaskedLM", "init_args": {"mask_rate": 0.3}},
                "order": "SentenceOrder",
            },
        },
        "data": {
            "corpus": str(place / "corpus.jsonl"),
            "tokenizer": TOKENS,
            "seq_len": WINDOW,
            "global_batch_size": ROWS,
            "batch_multiple": 2,
            "validation_rows": 8,
            "cache": str(place / "cache"),
        },
    }
    (place / "tiny.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return place


def run(*arguments: object) -> int:
    """The command in this process; its exit code."""
    try:
        return command_line.main([str(argument) for argument in arguments])
    except SystemExit as error:  # --help and --print_config
        return int(error.code or 0)


def fit(place: Path, root: Path, *arguments: object) -> int:
    return run("fit", "--config", place / "tiny.yaml", "--trainer.default_root_dir", root, *arguments)


@pytest.fixture(scope="module")
def trained(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was not disturbed."""
    root = tmp_path_factory.mktemp("trained") / "deep" / "run"
    assert fit(place, root) == 0
    return root


def table(root: Path) -> list[dict[str, str]]:
    with (root / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    return torch.load(checkpoint, weights_only=True)["state_dict"]


def same_weights(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# What a run leaves, and how it goes on.


def test_a_run_leaves_its_folder(trained: Path) -> None:
    assert {"config.yaml", "metrics.csv", "checkpoints", "curves.png"} <= {path.name for path in trained.iterdir()}
    assert (trained / "checkpoints" / "last.ckpt").is_file()
    rows = table(trained)
    for name in ("causal", "masked", "order"):
        losses = [(row["step"], float(row[f"train/{name}/loss"])) for row in rows if row[f"train/{name}/loss"]]
        assert [step for step, _ in losses] == ["0", "1", "2"]
        assert [float(row[f"train/{name}/weight"]) for row in rows if row[f"train/{name}/weight"]] == [1.0] * 3
        assert [row["step"] for row in rows if row[f"val/{name}/loss"]] == ["2"]
    uniform = torch.tensor(float(TOKENS)).log().item()
    assert float(rows[0]["train/causal/loss"]) == pytest.approx(uniform, abs=0.2)
    assert {"train/tokens", "train/tokens_per_second", "train/flops", "train/gradient_norm"} <= rows[0].keys()


def test_what_every_run_wants_need_not_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    """And what a configuration does write counts."""
    defaults = {"log_every_n_steps": 10, "val_check_interval": 200, "check_val_every_n_epoch": None}
    defaults |= {"num_sanity_val_steps": 0, "enable_model_summary": False}
    for flags, changes in ([], {}), (["--trainer.val_check_interval", "7"], {"val_check_interval": 7}):
        model = ["--model.backbone.model_type", "llama", "--model.objectives.causal", "CausalLM"]
        assert run("fit", *model, *flags, "--print_config") == 0
        trainer = yaml.safe_load(capsys.readouterr().out)["trainer"]
        assert {name: trainer[name] for name in defaults} == defaults | changes


def test_a_run_that_is_terminated_does_not_report_success(monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: 128 and the signal's number, as shells have it. Lightning's exception is a SystemExit without a code."""

    def terminated(*_: object) -> None:
        raise SIGTERMException

    monkeypatch.setattr(cli, "_train", terminated)
    assert run("fit") == 128 + signal.SIGTERM


def test_two_runs_are_the_same_to_the_last_bit(place: Path, trained: Path, tmp_path: Path) -> None:
    assert fit(place, tmp_path / "again") == 0
    last = Path("checkpoints", "last.ckpt")
    assert same_weights(trained / last, tmp_path / "again" / last)


def test_the_saved_configuration_gives_the_same_run(trained: Path, tmp_path: Path) -> None:
    assert run("fit", "--config", trained / "config.yaml", "--trainer.default_root_dir", tmp_path / "run") == 0
    last = Path("checkpoints", "last.ckpt")
    assert same_weights(trained / last, tmp_path / "run" / last)


def test_a_resumed_run_ends_as_the_one_that_was_not_stopped(place: Path, trained: Path, tmp_path: Path) -> None:
    keep = "{class_path: ModelCheckpoint, init_args: {every_n_train_steps: 1, save_top_k: -1}}"
    assert fit(place, tmp_path, "--trainer.callbacks", f"[{keep}]") == 0
    [first] = (tmp_path / "checkpoints").glob("*step=1.ckpt")
    first.replace(tmp_path / "checkpoints" / "last.ckpt")
    assert fit(place, tmp_path, "--ckpt_path", "last") == 0
    last = Path("checkpoints", "last.ckpt")
    assert same_weights(trained / last, tmp_path / last)
    columns = ("step", "train/causal/loss", "val/causal/loss")
    assert [[row[c] for c in columns] for row in table(tmp_path)] == [
        [row[c] for c in columns] for row in table(trained)
    ]
    assert not (tmp_path / "earlier").exists()


def test_a_run_outlives_the_folder_that_it_began_from(
    place: Path, trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Oracle: the run itself, as it reads while the folder is there; and a run that was not stopped."""
    begun, root, whole = tmp_path / "begun", tmp_path / "run", tmp_path / "whole"
    assert (
        run("export", "--ckpt_path", trained / "checkpoints" / "last.ckpt", "--output", begun, "--objective=causal")
        == 0
    )
    backbone = f"{{model_type: null, config: null, pretrained: {begun}}}"
    model = ["--model.backbone", backbone, "--model.objectives", "{causal: CausalLM}"]
    model += ["--model.lr_schedule", "{kind: constant, warmup: 0}"]
    assert fit(place, whole, *model, "--trainer.max_steps", "5") == 0
    assert fit(place, root, *model) == 0
    last = root / "checkpoints" / "last.ckpt"
    validate = "validate", "--config", root / "config.yaml", "--ckpt_path", last
    capfd.readouterr()
    assert run(*validate) == 0
    before = capfd.readouterr().out
    shutil.rmtree(begun)
    assert run(*validate) == 0
    assert capfd.readouterr().out == before
    assert run("demo", "--ckpt_path", last, "--text", "The dog runs home.") == 0
    assert run("export", "--ckpt_path", last, "--output", tmp_path / "out") == 0
    assert fit(place, root, *model, "--trainer.max_steps", "5", "--ckpt_path", "last") == 0
    assert [row["train/causal/loss"] for row in table(root)] == [row["train/causal/loss"] for row in table(whole)]


def test_a_second_run_sets_the_first_aside(place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert fit(place, tmp_path / "run", "--trainer.max_steps", 1, "--trainer.limit_val_batches", 0) == 0
    assert (tmp_path / "run" / "earlier" / "1" / "checkpoints" / "last.ckpt").is_file()
    assert len(table(tmp_path / "run")) == 1


def test_validate_prints_a_table_and_leaves_the_folder_alone(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    last = trained / "checkpoints" / "last.ckpt"
    assert run("validate", "--config", trained / "config.yaml", "--ckpt_path", last) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.split(r"\s{2,}", lines[0]) == ["objective", "metric", "model", "without a model"]
    loss = next(row["val/causal/loss"] for row in table(trained) if row["val/causal/loss"])
    assert re.split(r"\s{2,}", lines[2])[:3] == ["causal", "loss (nats)", f"{float(loss):.3f}"]
    assert f"uniform {torch.tensor(float(TOKENS)).log():.3f}" in lines[2]
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*")} == before


# Settings by file and flag.


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:
    capsys.readouterr()
    assert run(*arguments, "--print_config") == 0
    return yaml.safe_load(capsys.readouterr().out)


def test_print_config_fed_back_prints_the_same(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = printed(capsys, "fit", "--config", place / "tiny.yaml", "--model.balancer", "GradNorm")
    (tmp_path / "printed.yaml").write_text(yaml.safe_dump(first), encoding="utf-8")
    assert printed(capsys, "fit", "--config", tmp_path / "printed.yaml") == first
    assert first["data"]["seq_len"] == WINDOW and first["seed_everything"] == 0
    assert first["model"]["balancer"]["class_path"] == "lm_objectives.balancers.GradNorm"


def test_a_second_file_lies_over_the_first(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    over = {"model": {"objectives": {"order": "SentenceOrder"}, "balancer": "Uncertainty"}, "data": {"seq_len": 64}}
    (tmp_path / "over.yaml").write_text(yaml.safe_dump(over), encoding="utf-8")
    files = ["--config", place / "tiny.yaml", "--config", tmp_path / "over.yaml"]
    got = printed(capsys, "fit", *files, "--data.seq_len", 96)
    assert list(got["model"]["objectives"]) == ["order"]
    assert got["model"]["balancer"]["class_path"] == "lm_objectives.balancers.Uncertainty"
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


def test_an_optimizers_help_lists_what_a_user_gives(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("Muon", "SGD"):
        assert run("fit", "--model.optimizer.help", name) == 0
        shown = capsys.readouterr().out
        assert "--model.optimizer.lr" in shown and "--model.optimizer.params" not in shown


OWN = """
import torch
from lm_objectives.balancers import Balancer
from lm_objectives.objectives import CausalLM
from lm_objectives.objectives.base import Objective, Outcome
from lm_objectives.corruption.shifting import {shifting}
from lm_objectives.objectives.losses import at_positions, vocabulary_nats


class MyObjective(Objective):
    def __init__(self, share: float = 1.0, view_of: str | None = None) -> None:
        super().__init__(share, view_of)
        self.corruption = {shifting}()

    def build(self, backbone, vocabulary) -> None:
        self.size = vocabulary.size

    def initial_loss(self) -> float:
        return float(torch.tensor(float(self.size)).log())

    def score(self, hidden, view, embedding) -> Outcome:
        return Outcome({{"loss": vocabulary_nats(at_positions(hidden, view.scored), embedding, view.targets)}})


class MyBalancer(Balancer):
    def __init__(self, first: float = 2.0) -> None:
        super().__init__()
        self.first = first

    def weights(self, step):
        return torch.full_like(self.initial_losses, self.first)
"""


def test_a_users_own_objective_and_balancer_by_import_path(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_research_file.py").write_text(OWN.format(shifting="NextToken"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    own = ["--model.objectives.mine", "my_research_file.MyObjective", "--model.balancer", "my_research_file.MyBalancer"]
    assert fit(place, tmp_path / "run", *own, "--model.balancer.first", 3.0) == 0
    rows = table(tmp_path / "run")
    assert float(rows[0]["train/mine/weight"]) == 3.0
    assert float(rows[0]["train/mine/loss"]) == pytest.approx(torch.tensor(float(TOKENS)).log().item(), abs=0.2)
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert run("validate", "--config", tmp_path / "run" / "config.yaml", "--ckpt_path", last) == 0


def test_gradient_conflict_from_yaml(place: Path, tmp_path: Path) -> None:
    settings = {"trainer": {"callbacks": [{"class_path": "lm_objectives.callbacks.GradientConflict"}]}}
    (tmp_path / "conflict.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    assert fit(place, tmp_path / "run", "--config", tmp_path / "conflict.yaml") == 0
    assert "gradients/causal/masked/cosine" in table(tmp_path / "run")[0]
    assert (tmp_path / "run" / "gradient_conflict.png").is_file()


def test_no_curves_no_bar_no_checkpoints_where_they_are_off(place: Path, tmp_path: Path) -> None:
    assert fit(place, tmp_path / "run", "--trainer.fast_dev_run", "true") == 0
    assert not (tmp_path / "run").exists()


# Bad input.

STAGES = "{class_path: Curriculum, init_args: {pace: {class_path: Stages, init_args: {points: {order: [[5000, 1]]}}}}}"

# What is given after `fit --config tiny.yaml`, and what the line has to say of what was expected, found, and the mend.
BAD: dict[str, tuple[list[str], str]] = {
    "config missing": (["--config", "{tmp}/nope.yaml"], r"expected a config file at .*nope.yaml, found none: check"),
    "YAML broken": (["--config", "{tmp}/broken.yaml"], r"expected YAML in .*broken.yaml, found a mistake in line 3: "),
    "no settings": (["--config", "{tmp}/list.yaml"], r"expected settings in .*list.yaml, found list: write"),
    "unknown key in a file": (
        ["--config", "{tmp}/key.yaml"],
        r"found 'model.objectivs': did you mean model.objectives\?",
    ),
    "unknown key": (["--data.widow", "3"], r"found --data.widow: did you mean data.seq_len\?"),
    "unknown key of a trainer": (
        ["--trainer.max_step", "3"],
        r"found --trainer.max_step: did you mean trainer.max_steps\?",
    ),
    "unknown argument": (
        ["--model.objectives.masked.mask_rat", "0.3"],
        r"MaskedLM.*'mask_rat'.*did you mean mask_rate\?",
    ),
    "unknown objective": (
        ["--model.objectives.foo", "MaskdLM"],
        r"expected an objective .*found 'MaskdLM': did you mean MaskedLM\? there are CausalLM.*my_module",
    ),
    "unknown balancer": (
        ["--model.balancer", "GradNrm"],
        r"expected a balancer .*found 'GradNrm': did you mean GradNorm\? there are .*Uncertainty.*my_module.MyClass",
    ),
    "unknown module": (["--model.balancer", "foo.Bar"], r"expected a module foo for foo.Bar, found none: check"),
    "no objective": (
        ["--model.objectives.foo", "json.JSONDecoder"],
        r"expected Objective or .*found json.JSONDecoder, which",
    ),
    "balancer's unknown argument": (
        ["--model.balancer", "GradNorm", "--model.balancer.alpa", "1"],
        r"GradNorm.*'?alpa'?.*did you mean alpha\?",
    ),
    "not a number": (["--data.seq_len", "abc"], r"expected .*data.seq_len.*found .*abc"),
    "not a number in a class": (
        ["--model.balancer", "GradNorm", "--model.balancer.alpha", "x"],
        r"expected .*found '?x'?",
    ),
    "no objectives": (["--config", "{tmp}/none.yaml"], r"expected at least one objective .*found none: add one"),
    "view of nobody": (
        ["--model.objectives.m2", "MaskedLM", "--model.objectives.m2.view_of", "nobody"],
        r"expected view_of of objective m2 to name another objective, found 'nobody': there are causal, masked, order",
    ),
    "share of 0": (["--model.objectives.masked.share", "0"], r"expected a share above 0, found 0.*: leave"),
    "share below 0": (["--model.objectives.masked.share", "-1"], r"expected a share above 0, found -1.*: leave"),
    "rows not divided by the unit": (
        ["--data.global_batch_size", "13"],
        r"data.batch_multiple \(2\) divides, found 13: 14 would do",
    ),
    "rows not divided by accumulation": (
        ["--trainer.accumulate_grad_batches", "4"],
        r"accumulate_grad_batches to divide data.batch_multiple \(2\), found 1 x 4: set data.batch_multiple to 4",
    ),
    "rows not divided by devices": (
        ["--trainer.devices", "3", "--trainer.strategy", "ddp"],
        r"divide data.batch_multiple \(2\), found 3 x 1: set data.batch_multiple to 3",
    ),
    "window beyond positions": (
        ["--data.seq_len", "41", "--model.backbone.config.max_position_embeddings", "40"],
        r"data.seq_len of at most 40, .*found 41: shorten",
    ),
    "corpus smaller than a step": (
        ["--data.seq_len", "256"],
        r"at least one step, [\d,]+ tokens .*, found [\d,]+: give a larger corpus, or lower data.global_batch_size",
    ),
    "windows that do not divide the largest": (
        ["--data.seq_len", "[[0, 12], [5, 32]]"],
        r"windows in data.seq_len that divide the largest, 32, found 12: 128",
    ),
    "window that moves by fractions of no training": (
        ["--data.seq_len", "[[0.0, 16], [0.5, 32]]", "--trainer.max_steps", "-1"],
        r"data.seq_len expects .*the fraction 0.5 of, found one without: set max_steps",
    ),
    "share that moves below 0": (
        ["--model.objectives.masked.share", "[[0.0, 1.0], [1.0, -1.0]]"],
        r"shares of at least 0, found -1.0: 0 leaves",
    ),
    "weights of other corpora": (
        ["--data.corpus_weights", "[1.0, 2.0]"],
        r"data.corpus_weights of at least 0 for each of 1 corpora, found \[1.0, 2.0\]: give data.corpus as a list",
    ),
    "packing where documents cannot be kept apart": (
        [
            "--data.packing",
            "true",
            "--model.backbone",
            "{{model_type: t5, config: {{d_model: 32, num_heads: 2, d_kv: 16, d_ff: 64, num_layers: 1}}}}",
        ],
        r"keeps the documents of a row apart for data.packing, found one that cannot: set data.packing to false",
    ),
    "mask rate": (["--model.objectives.masked.mask_rate", "1.5"], r"expected .*mask_rate.*found 1.5"),
    "mask rate of 0": (["--model.objectives.masked.mask_rate", "0"], r"expected .*mask_rate.*found 0"),
    "heads": (
        ["--model.backbone.config.num_attention_heads", "3"],
        r"expected .*found .*hidden size \(32\).*attention heads \(3\).*: change",
    ),
    "unknown model_type": (
        ["--model.backbone.model_type", "lama"],
        r"expected a model_type .*'lama': did you mean llama",
    ),
    "unknown argument of a backbone": (
        ["--model.backbone.config.hiden_size", "32"],
        r"'hiden_size'.*did you mean hidden_size\?",
    ),
    "checkpoint missing": (
        ["--ckpt_path", "nope.ckpt"],
        r"expected a checkpoint at nope.ckpt, found no such file: check",
    ),
    "no checkpoint": (
        ["--ckpt_path", "{tmp}/key.yaml"],
        r"expected a checkpoint at .*found a file of another kind: check",
    ),
    "checkpoint of another model": (
        ["--ckpt_path", "{trained}/checkpoints/last.ckpt", "--model.backbone.config.intermediate_size", "48"],
        r"expected a checkpoint of this model, found one of another: .*\(48, 32\).*\(64, 32\).*; give",
    ),
    "checkpoint of another family": (
        ["--ckpt_path", "{trained}/checkpoints/last.ckpt", "--model.backbone", "{{model_type: qwen3}}"],
        r"expected a checkpoint of this model, found one of another: backbone.* in the model and .*; give",
    ),
    "no encoder to permute sentences for": (
        ["--model.objectives.more", "TextDenoising"],
        r"expected a backbone with an encoder and a decoder for objective more, found llama: t5 and bart",
    ),
    "no decoder that writes without an encoder": (
        ["--model.backbone", "{{model_type: t5, config: {{d_model: 32, num_heads: 4, d_kv: 8, num_layers: 1}}}}"],
        r"expected objectives that read both ways on a t5 backbone, .* found causal with causal attention: choose",
    ),
    "two beginnings": (
        ["--model.backbone.pretrained", "{tmp}/vision"],
        r"expected either a model_type and its config or a pretrained folder .*found both: set model.backbone.mod",
    ),
    "sizes beside a folder": (
        ["--model.backbone.pretrained", "{tmp}/vision", "--model.backbone.model_type", "null"],
        r"or a pretrained folder .*found both: set model.backbone.model_type and model.backbone.config to null",
    ),
    "pretrained on images": (
        ["--model.backbone", "{{model_type: null, config: null, pretrained: {tmp}/vision}}"],
        r"expected a language model with attention heads, found resnet: llama",
    ),
    "no pretrained folder": (
        ["--model.backbone", "{{model_type: null, config: null, pretrained: {tmp}/nowhere}}"],
        r"expected a folder with a config.json at .*nowhere, found none: check",
    ),
    "checkpoint of other objectives": (
        ["--ckpt_path", "{trained}/checkpoints/last.ckpt", "--model.objectives.more", "SentenceOrder"],
        r"expected a checkpoint of this model, found one of another: .*more",
    ),
    "corpus missing": (["--data.corpus", "{tmp}/nope.txt"], r"expected .*found .*nope.txt|nope.txt.*found"),
    "corpus empty": (["--data.corpus", "{tmp}/empty.txt"], r"expected .*found .*"),
    "text field": (["--data.text_field", "body"], r"expected .*body.*found .*text"),
    "no GPU": (
        ["--trainer.accelerator", "gpu"],
        r"expected .*found: No supported gpu.*: change.*trainer.accelerator to auto",
    ),
    "folder not writable": (
        ["--trainer.default_root_dir", "/dev/null/x"],
        r"expected a folder to write to .*/dev/null not writable",
    ),
    "cache not writable": (
        ["--data.cache", "/dev/null/x"],
        r"expected a folder that can be written, found /dev/null/x .*choose",
    ),
    "max_steps": (["--trainer.max_steps", "-5"], r"expected .*found.*-5"),
    "warmup": (["--model.lr_schedule.warmup", "1.5"], r"expected .*warmup.*found 1.5"),
    "lr_schedule": (["--model.lr_schedule.kind", "cosin"], r"expected one of .*cosine.*found '?cosin"),
    "schedule without its settings": (
        ["--model.lr_schedule.kind", "step"],
        r"expected milestones for a step schedule, found none: write",
    ),
    "another schedule's settings": (
        ["--model.lr_schedule.decay", "0.5"],
        r"expected no decay in a cosine schedule, found 0.5: leave it out, or choose kind=wsd",
    ),
    "schedule longer than the training": (
        ["--model.lr_schedule.kind", "wsd", "--model.lr_schedule.decay", "900"],
        r"expected a warmup and a decay within the training's 3 steps, found 1 and 900: shorten",
    ),
    "precision": (["--trainer.precision", "17"], r"expected .*found.*17"),
    "optimizer": (
        ["--model.optimizer", "AdmW"],
        r"expected an optimizer in model.optimizer, found 'AdmW': did you mean AdamW\? there are AdamW, Adam, SGD, "
        r"Adafactor, Muon, and the import path",
    ),
    "optimizer's import path": (
        ["--model.optimizer", "my_module.Foo"],
        r"expected a module my_module for my_module.Foo, found none",
    ),
    "tokenizer": (["--data.tokenizer", "{tmp}/nope"], r"expected .*found .*nope|nope.*found"),
    "language": (["--data.language", "klingon"], r"expected .*found '?klingon"),
    "held-out share": (["--data.validation_share", "1.5"], r"expected .*found 1.5"),
    "weights of nobody": (
        ["--model.balancer", "Fixed", "--model.balancer.weights", "{{a: 1}}"],
        r"Fixed expects one weight for each of causal, masked, order, found weights for a: name",
    ),
    "weight missing": (
        ["--model.balancer", "Fixed", "--model.balancer.weights", "{{causal: 1, masked: 1}}"],
        r"Fixed expects one weight for each of causal, masked, order, found weights for causal, masked: name",
    ),
    "weight below 0": (
        ["--model.balancer", "Fixed", "--model.balancer.weights", "{{causal: -1, masked: 1, order: 1}}"],
        r"Fixed expects weights of at least 0, found -1.0 for causal: use 0",
    ),
    "alpha below 0": (["--model.balancer", "GradNorm", "--model.balancer.alpha", "-1"], r"alpha.*found -1"),
    "stage after the end": (
        ["--model.balancer", STAGES.replace("{", "{{").replace("}", "}}")],
        r"Stages of \w+ expects .*5000.*: move",
    ),
    "optimizer's rate": (
        ["--model.optimizer", "torch.optim.AdamW", "--model.optimizer.lr", "-1"],
        r"expected an optimizer that can be made, found .*-1.*: change model.optimizer",
    ),
    "optimizer's unknown argument": (
        ["--model.optimizer", "torch.optim.AdamW", "--model.optimizer.lrr", "1"],
        r"expected a setting of AdamW in model.optimizer, found 'lrr': did you mean lr\?",
    ),
    "argument of another optimizer": (
        ["--model.optimizer", "SGD", "--model.optimizer.betas", "[0.9, 0.99]"],
        r"expected a setting of SGD in model.optimizer, found 'betas': there are lr, momentum",
    ),
    "argument of another optimizer in a file": (
        ["--config", "{tmp}/betas.yaml"],
        r"expected a setting of SGD in model.optimizer, found 'betas': there are lr, momentum",
    ),
    "optimizer's arguments beside its class": (
        ["--config", "{tmp}/beside.yaml"],
        r"expected class_path and init_args in model.optimizer, found arguments beside them: put these below init_args",
    ),
    "Adafactor's unknown argument": (
        ["--model.optimizer", "Adafactor", "--model.optimizer.momentum", ".9"],
        r"expected a setting of Adafactor in model.optimizer, found 'momentum': there are lr, eps, clip_threshold",
    ),
    "optimizer's word for a number": (
        ["--model.optimizer", "AdamW", "--model.optimizer.lr", "high"],
        r"expected a float for lr, found 'high': change its value\n",
    ),
    "optimizer's number for a word": (
        ["--model.optimizer", "SGD", "--model.optimizer.momentum", "high"],
        r"expected a float for momentum, found 'high': change its value\n",
    ),
    "rate of our own optimizer": (
        ["--model.optimizer", "Muon", "--model.optimizer.lr", "-1"],
        r"error: expected lr of at least 0, found -1.0: choose a rate such as 0.01\n",
    ),
    "part of a step": (
        ["--trainer.accumulate_grad_batches", "2", "--trainer.limit_train_batches", "3"],
        r"limit_train_batches in whole steps of 2 micro-batches, found 3: 4 would do",
    ),
    "accumulation of 0": (
        ["--trainer.accumulate_grad_batches", "0"],
        r"accumulate_grad_batches above 0, found 0: raise",
    ),
    "no interval": (
        ["--trainer.val_check_interval", "0"],
        r"expected trainer.val_check_interval above 0, found 0.*: raise",
    ),
    "workers": (["--data.num_workers", "200"], r"expected data.num_workers of at most 14, found 200: .*lower"),
    "accelerator": (["--trainer.accelerator", "foo"], r"expected .*found: .*foo.*: change"),
    "strategy": (["--trainer.strategy", "foo"], r"expected .*found: .*foo.*: change"),
    "no last checkpoint": (
        ["--ckpt_path", "last"],
        r"expected a checkpoint to go on from at .*last.ckpt, found none: leave",
    ),
    "no best checkpoint": (["--ckpt_path", "best"], r"expected a checkpoint at best, found no such file"),
    "abbreviation": (
        ["--data.rows", "8"],
        r"expected known settings, found --data.rows: did you mean data.global_batch_size\?",
    ),
    "nothing to a name": (["foo"], r"expected settings as --name value, found 'foo' alone: --help"),
    "monitor of nobody": (
        ["--trainer.callbacks", "[{{class_path: EarlyStopping, init_args: {{monitor: val/foo/loss}}}}]"],
        r"expected EarlyStopping to monitor .*found val/foo/loss: there are val/causal/accuracy, .*val/order/loss",
    ),
    "conflict's step": (
        [
            "--trainer.callbacks",
            "[{{class_path: lm_objectives.callbacks.GradientConflict, init_args: {{every_n_steps: 0}}}}]",
        ],
        r"GradientConflict expects every_n_steps of at least 1, found 0: raise it",
    ),
}


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp = tmp_path_factory.mktemp("bad")
    (tmp / "broken.yaml").write_text("model:\n  backbone: {a: 1\n data: x\n", encoding="utf-8")
    (tmp / "list.yaml").write_text("- a\n", encoding="utf-8")
    (tmp / "key.yaml").write_text("model:\n  objectivs: {}\n", encoding="utf-8")
    (tmp / "none.yaml").write_text("model:\n  objectives: {}\n", encoding="utf-8")
    optimizer = "model: {optimizer: {class_path: SGD, init_args: {betas: [0.9, 0.99]}}}"
    (tmp / "betas.yaml").write_text(optimizer, encoding="utf-8")
    (tmp / "beside.yaml").write_text("model: {optimizer: {class_path: SGD, lr: 0.1}}", encoding="utf-8")
    (tmp / "vision").mkdir()
    (tmp / "vision" / "config.json").write_text('{"model_type": "resnet"}', encoding="utf-8")
    (tmp / "empty.txt").write_text("", encoding="utf-8")
    return tmp


def complaint(capfd: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr."""
    error = capfd.readouterr().err
    assert error.startswith("lm-objectives: error: ") and error.count("\n") == 1, error
    assert "Traceback" not in error
    return error


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told_in_one_line(
    case: str, place: Path, trained: Path, bad_files: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if case == "no GPU" and torch.cuda.is_available():
        pytest.skip("there is one")
    given, told = BAD[case]
    root = tmp_path / "run"
    capfd.readouterr()
    assert fit(place, root, *(text.format(tmp=bad_files, trained=trained) for text in given)) == 2
    assert re.search(told, complaint(capfd))
    assert not root.exists()


def test_a_balancers_weights_are_tried_before_anything_is_written(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    text = """
        import torch
        from lm_objectives.balancers import Balancer
        class Short(Balancer):
            def weights(self, step): return torch.ones(2)
    """
    (tmp_path / "short_balancer.py").write_text(textwrap.dedent(text), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    capfd.readouterr()
    assert fit(place, tmp_path / "run", "--model.balancer", "short_balancer.Short") == 2
    assert "from Short.weights, found shape (2,): return 3 numbers" in complaint(capfd)
    assert not (tmp_path / "run").exists()


def test_a_finished_run_says_so(place: Path, trained: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    assert fit(place, trained, "--ckpt_path", "last") == 0
    assert re.search(r"all \d+ steps are done: a higher trainer.max_steps goes on", capfd.readouterr().err)


def test_a_checkpoint_that_is_cut_off(trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = (trained / "checkpoints" / "last.ckpt").read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: len(whole) // 2])
    capfd.readouterr()
    assert run("demo", "--ckpt_path", tmp_path / "cut.ckpt") == 2
    assert "found one that is cut off or damaged: check the path" in complaint(capfd)


def test_validate_explains_as_well(place: Path, trained: Path, capfd: pytest.CaptureFixture[str]) -> None:
    last = trained / "checkpoints" / "last.ckpt"
    capfd.readouterr()
    narrow = ["--model.backbone.config.hidden_size", "16"]
    assert run("validate", "--config", trained / "config.yaml", "--ckpt_path", last, *narrow) == 2
    assert "expected a checkpoint of this model, found one of another" in complaint(capfd)


@pytest.mark.parametrize("change", ["validation_share", "split_seed", "language", "corpus"])
def test_a_run_goes_on_with_its_own_text_alone(
    change: str, place: Path, trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With the tokenizer that it had: a loaded one is the same, whatever the text and its split."""
    tokenizer = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)[KEY]["cache"] + "/tokenizer"
    text = (place / "corpus.jsonl").read_text(encoding="utf-8")
    (tmp_path / "other.jsonl").write_text(text + '{"text": "Another one."}\n', encoding="utf-8")
    others = {"validation_share": 0.4, "split_seed": 1, "language": "de", "corpus": tmp_path / "other.jsonl"}
    other = [f"--data.{change}", others[change]]
    capfd.readouterr()
    assert fit(place, trained, "--ckpt_path", "last", "--data.tokenizer", tokenizer, *other) == 2
    assert f"lm-objectives: error: expected the data.{change} of the run that goes on, " in capfd.readouterr().err


def test_a_run_goes_on_with_its_own_rows_alone(place: Path, trained: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Pairs within documents are others than pairs within paragraphs."""
    capfd.readouterr()
    within = ["--model.objectives.order.within", "document"]
    assert fit(place, trained, "--ckpt_path", "last", *within) == 2
    assert "error: expected the rows of an epoch of the run that goes on, " in capfd.readouterr().err


def test_a_run_goes_on_with_its_text_and_tokenizer_elsewhere(place: Path, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "run")
    shutil.copy(place / "corpus.jsonl", tmp_path / "moved.jsonl")
    cache = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)[KEY]["cache"]
    shutil.copytree(Path(cache, "tokenizer"), tmp_path / "tokenizer")
    moved = ["--data.corpus", tmp_path / "moved.jsonl", "--data.tokenizer", tmp_path / "tokenizer"]
    assert fit(place, tmp_path / "run", "--ckpt_path", "last", *moved, "--trainer.max_steps", 4) == 0


def test_last_of_another_model_leaves_the_folder_alone(
    place: Path, trained: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = (trained / "config.yaml").read_text(encoding="utf-8")
    capfd.readouterr()
    assert fit(place, trained, "--ckpt_path", "last", "--model.backbone.config.intermediate_size", 48) == 2
    assert "found one of another" in complaint(capfd)
    assert (trained / "config.yaml").read_text(encoding="utf-8") == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["frobnicate"], r"expected a command, found 'frobnicate': there are fit, prepare, validate, demo, export"),
        (["fti"], r"found 'fti': did you mean fit\?"),
        (["fit"], r"expected a value for model\.\S+, found none: give a --config"),
        (["demo", "nope.ckpt"], r"expected settings as --name value, found 'nope.ckpt' alone|--ckpt_path"),
        (["demo", "--ckpt_path", "nope.ckpt"], r"expected a checkpoint at nope.ckpt, found no such file: check"),
        (["export", "nope.ckpt", "--folder", "x"], r"expected .*found"),
        (["export", "--ckpt_path", "nope.ckpt"], r"expected a value for --output, found none: give one"),
    ],
)
def test_bad_commands(arguments: list[str], told: str, tmp_path: Path, capfd: pytest.CaptureFixture[str],
                      monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    assert re.search(told, complaint(capfd))
    assert list(tmp_path.iterdir()) == []


def test_torchjd_missing_names_the_extra(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "torchjd"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchjd", None)
    capfd.readouterr()
    assert fit(place, tmp_path / "run", "--model.balancer", "TorchJD", "--model.balancer.weighting", "UPGrad") == 2
    assert re.search(r"torchjd.*found.*lm-objectives\[torchjd\]", complaint(capfd))


def test_one_objective_is_no_mistake(place: Path, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("model: {objectives: {causal: CausalLM}}\n", encoding="utf-8")
    one = ["--config", tmp_path / "one.yaml", "--trainer.limit_val_batches", 0]
    assert fit(place, tmp_path / "run", *one, "--model.balancer", "GradNorm") == 0
    assert {float(row["train/causal/weight"]) for row in table(tmp_path / "run")} == {1.0}


# Help.


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
    titles = ("One backbone that learns", "Rows for each objective", "How a run is tracked", "Lightning's Trainer")
    assert (found := [text.index(title) for title in titles]) == sorted(found)


# Real processes.


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(REPOSITORY)}


def test_module_and_script() -> None:
    shown = subprocess.run([*PROGRAM, "--help"], capture_output=True, text=True, env=environment(), check=True)
    assert shown.stdout.startswith("usage: lm-objectives COMMAND") and shown.stderr == ""
    script = Path(sys.executable).with_name("lm-objectives")
    version = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"lm-objectives \d+\.\d+\S*\n", version.stdout)


def test_a_reader_may_leave() -> None:
    """As with `| head`: 141, what the shell says of SIGPIPE."""
    process = subprocess.Popen(
        [*PROGRAM, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == ("", 141)
    process.stderr.close()


def test_help_imports_neither_torch_nor_lightning() -> None:
    code = (
        "import sys; from lm_objectives.__main__ import main; main(['--help']);"
        "print(*({'torch', 'lightning', 'transformers', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)
    assert done.stderr.split() == []


def test_a_process_killed_in_the_middle_goes_on(place: Path, tmp_path: Path) -> None:
    """Oracle: the same command, left alone."""
    keep = "{class_path: ModelCheckpoint, init_args: {every_n_train_steps: 2, save_top_k: 0, save_last: true}}"
    settings = ["--trainer.max_steps", "60", "--trainer.val_check_interval", "15", "--trainer.callbacks", f"[{keep}]"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [*PROGRAM, "fit", "--config", str(place / "tiny.yaml"), "--trainer.default_root_dir", str(killed)]
    with subprocess.Popen([*command, *settings], stderr=subprocess.DEVNULL, env=environment()) as process:
        started = time.monotonic()
        rows = 0
        while rows < 20 and time.monotonic() - started < 60:
            time.sleep(0.01)
            rows = len(table(killed)) if (killed / "metrics.csv").exists() else 0
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL and 20 <= len(table(killed)) < 60
    assert fit(place, killed, *settings, "--ckpt_path", "last") == fit(place, whole, *settings) == 0
    assert same_weights(*(root / "checkpoints" / "last.ckpt" for root in (killed, whole)))
    a, b = ([{**row, "train/tokens_per_second": ""} for row in table(root)] for root in (killed, whole))
    assert a == b and len(a) == 64


@pytest.mark.slow
def test_ctrl_c_leaves_a_checkpoint_to_go_on_from(place: Path, tmp_path: Path) -> None:
    command = [*PROGRAM, "fit", "--config", str(place / "tiny.yaml"), "--trainer.default_root_dir", str(tmp_path)]
    with subprocess.Popen(
        [*command, "--trainer.max_steps", "5000", "--trainer.limit_val_batches", "0"],
        stderr=subprocess.PIPE, text=True, env=environment(),
    ) as process:  # fmt: skip
        started = time.monotonic()
        while not (tmp_path / "metrics.csv").exists() and time.monotonic() - started < 60:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    found = re.search(r"stopped after step (\d+); the same command with --ckpt_path last goes on", error)
    assert found and "Traceback" not in error
    steps = int(found[1])
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == steps
    assert fit(place, tmp_path, "--ckpt_path", "last", "--trainer.max_steps", steps + 2) == 0
    assert [int(row["step"]) for row in table(tmp_path) if row["train/loss"]] == list(range(steps + 2))


@pytest.mark.slow
def test_two_processes(place: Path, trained: Path, tmp_path: Path) -> None:
    """Oracle: the same command on one."""
    command = [*PROGRAM, "fit", "--config", str(place / "tiny.yaml"), "--trainer.default_root_dir", str(tmp_path)]
    two = ["--trainer.devices", "2", "--trainer.accelerator", "cpu", "--trainer.strategy", "ddp"]
    done = subprocess.run([*command, *two], capture_output=True, text=True, env=environment(), timeout=200)
    assert done.returncode == 0, done.stderr
    one, other = table(trained), table(tmp_path)
    for column in ("train/causal/loss", "train/masked/loss", "train/order/loss", "train/tokens", "val/causal/loss"):
        pairs = [(float(a[column]), float(b[column])) for a, b in zip(one, other, strict=True) if a[column]]
        assert pairs and all(a == pytest.approx(b, abs=2e-4) for a, b in pairs), column
    assert (tmp_path / "curves.png").is_file()
