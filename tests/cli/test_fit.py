"""What `lm-objectives fit` leaves, and how a run goes on."""

import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
import yaml
from utils.command_line import PROGRAM, contents, environment, fit, run, same_weights, table
from utils.small_corpus import TOKENS

from lm_objectives.training.checkpoint import read_checkpoint
from lm_objectives.training.run_folder import RunFolder


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
    assert not (tmp_path / "previous").exists()


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
    assert (tmp_path / "run" / "previous" / "1" / "checkpoints" / "last.ckpt").is_file()
    assert len(table(tmp_path / "run")) == 1


OWN = """
import torch
from lm_objectives import Balancer, CausalLM


class MyObjective(CausalLM):
    pass


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
    (tmp_path / "my_research_file.py").write_text(OWN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    own = ["--model.objectives.mine", "my_research_file.MyObjective", "--model.balancer", "my_research_file.MyBalancer"]
    assert fit(place, tmp_path / "run", *own, "--model.balancer.first", 3.0) == 0
    rows = table(tmp_path / "run")
    assert float(rows[0]["train/mine/weight"]) == 3.0
    assert float(rows[0]["train/mine/loss"]) == pytest.approx(torch.tensor(float(TOKENS)).log().item(), abs=0.2)
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert run("validate", "--config", tmp_path / "run" / "config.yaml", "--ckpt_path", last) == 0


def test_shipped_plugins_go_by_the_packages_name(trained: Path) -> None:
    """In `config.yaml` and in checkpoints, so that a file may move within the package."""
    objectives = {"causal": "CausalLM", "masked": "MaskedLM", "order": "SentenceOrder"}
    saved = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)["hyper_parameters"]
    written = yaml.safe_load((trained / "config.yaml").read_text(encoding="utf-8"))["model"]
    for described in (saved["objectives"], written["objectives"]):
        assert {name: one["class_path"] for name, one in described.items()} == {
            name: f"lm_objectives.{kind}" for name, kind in objectives.items()
        }
    assert saved["backbone"]["class_path"] == "lm_objectives.Backbone"
    assert saved["balancer"]["class_path"] == "lm_objectives.Fixed"


def test_gradient_conflict_from_yaml(place: Path, tmp_path: Path) -> None:
    settings = {"trainer": {"callbacks": [{"class_path": "lm_objectives.callbacks.GradientConflict"}]}}
    (tmp_path / "conflict.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    assert fit(place, tmp_path / "run", "--config", tmp_path / "conflict.yaml") == 0
    assert "gradients/causal/masked/cosine" in table(tmp_path / "run")[0]
    assert (tmp_path / "run" / "gradient_conflict.png").is_file()


def test_no_curves_no_bar_no_checkpoints_where_they_are_off(place: Path, tmp_path: Path) -> None:
    assert fit(place, tmp_path / "run", "--trainer.fast_dev_run", "true") == 0
    assert not (tmp_path / "run").exists()


def test_a_run_goes_on_with_its_text_and_tokenizer_elsewhere(place: Path, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "run")
    shutil.copy(place / "corpus.jsonl", tmp_path / "moved.jsonl")
    cache = read_checkpoint(str(trained / "checkpoints" / "last.ckpt"))[1].cache
    shutil.copytree(Path(cache, "tokenizer"), tmp_path / "tokenizer")
    moved = ["--data.corpus", tmp_path / "moved.jsonl", "--data.tokenizer", tmp_path / "tokenizer"]
    assert fit(place, tmp_path / "run", "--ckpt_path", "last", *moved) == 0


def test_one_objective_is_no_mistake(place: Path, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("model: {objectives: {causal: CausalLM}}\n", encoding="utf-8")
    one = ["--config", tmp_path / "one.yaml", "--trainer.limit_val_batches", 0]
    assert fit(place, tmp_path / "run", *one, "--model.balancer", "GradNorm") == 0
    assert {float(row["train/causal/weight"]) for row in table(tmp_path / "run")} == {1.0}


@pytest.mark.slow
def test_ctrl_c_leaves_a_checkpoint_to_go_on_from(place: Path, tmp_path: Path) -> None:
    command = [*PROGRAM, "fit", "--config", str(place / "tiny.yaml"), "--trainer.default_root_dir", str(tmp_path)]
    constant = ["--model.lr_schedule", "{kind: constant, warmup: 0}"]
    with subprocess.Popen(
        [*command, *constant, "--trainer.max_steps", "5000", "--trainer.limit_val_batches", "0"],
        stderr=subprocess.PIPE, text=True, env=environment(),
    ) as process:  # fmt: skip
        started = time.monotonic()
        while not (tmp_path / "metrics.csv").exists() and time.monotonic() - started < 120:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    found = re.search(r"stopped after step (\d+); the same command with --ckpt_path last goes on", error)
    assert found and "Traceback" not in error
    steps = int(found[1])
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == steps
    assert fit(place, tmp_path, "--ckpt_path", "last", *constant, "--trainer.max_steps", steps + 2) == 0
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


def test_a_second_run_in_the_folder_of_a_live_one_is_refused(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Oracle: the folder of the live run, byte for byte."""
    live = RunFolder(tmp_path / "run")
    live.hold()
    (tmp_path / "run" / "metrics.csv").write_text("of the live run", encoding="utf-8")
    before = contents(tmp_path)
    assert fit(place, tmp_path / "run") == 2
    assert "expected a run folder that no other run is in" in capfd.readouterr().err.splitlines()[-1]
    assert contents(tmp_path) == before
    live.release()
    assert fit(place, tmp_path / "run") == 0
    assert (tmp_path / "run" / "previous" / "1" / "metrics.csv").read_text(encoding="utf-8") == "of the live run"


def test_a_home_folder_is_found_in_flags_and_files(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    settings = yaml.safe_load((place / "tiny.yaml").read_text(encoding="utf-8"))
    shutil.copy(settings["data"]["corpus"], tmp_path / "text.jsonl")
    settings["data"] |= {"corpus": ["~/text.jsonl"], "cache": "~/cache"}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    assert run("fit", "--config=~/mine.yaml", "--trainer.default_root_dir", "~/run") == 0
    assert "all 3 steps are done: --weights begins a new run" in capfd.readouterr().err
    assert not (tmp_path / "~").exists() and (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()
    assert run("validate", "--config", "~/run/config.yaml", "--ckpt_path", "~/run/checkpoints/last.ckpt") == 0


def test_a_run_that_is_shorter_than_the_interval_is_validated_at_its_end(place: Path, tmp_path: Path) -> None:
    assert fit(place, tmp_path, "--trainer.val_check_interval", 50) == 0
    assert [row["step"] for row in table(tmp_path) if row["val/causal/loss"]] == ["2"]


@pytest.mark.slow
def test_a_login_that_fails_leaves_the_previous_run_in_place(place: Path, trained: Path, tmp_path: Path) -> None:
    """Oracle: the folder, byte for byte. In a process of its own, since W&B keeps what it was once told."""
    shutil.copytree(trained, tmp_path / "run")
    before = contents(tmp_path / "run")
    variables = environment() | {"NETRC": str(tmp_path / "no netrc"), "WANDB_MODE": "online"}
    variables.pop("WANDB_API_KEY", None)
    flags = ["--trainer.default_root_dir", str(tmp_path / "run"), "--tracking.wandb", "online"]
    command = [*PROGRAM, "fit", "--config", str(place / "tiny.yaml"), *flags]
    found = subprocess.run(command, capture_output=True, text=True, env=variables, stdin=subprocess.DEVNULL)
    assert found.returncode == 2
    assert "expected Weights & Biases to take the run, found: " in found.stderr.splitlines()[-1]
    after = contents(tmp_path / "run")
    assert after | {"owner.json": before["owner.json"]} == before
    assert not (tmp_path / "run" / "previous").exists()
