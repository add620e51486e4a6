"""What may change while a run goes on, and what is refused: one line, and not a byte of the folder is changed."""

import os
import re
import shutil
from pathlib import Path

import pytest
from utils.command_line import complaint, contents, fit, run, table

from lm_objectives.training.checkpoint import read_checkpoint

CONSTANT = ["--model.lr_schedule", "{kind: constant, warmup: 0}"]
PACE = "{class_path: Curriculum, init_args: {pace: {class_path: Stages, init_args: {points: {order: [[0.5, 1]]}}}}}"

REFUSED: dict[str, tuple[list[str], str]] = {
    "optimizer's argument": (["--model.optimizer", "AdamW", "--model.optimizer.lr", "1e-4"], r"optimizer.lr 0.0001, "),
    "SGD": (["--model.optimizer", "SGD"], r"model.optimizer torch.optim.SGD, was torch.optim.AdamW: give"),
    "Muon": (["--model.optimizer", "Muon"], r"model.optimizer lm_objectives.Muon, was torch.optim.AdamW: give"),
    "Adafactor": (["--model.optimizer", "Adafactor"], r"model.optimizer lm_objectives.Adafactor, was torch"),
    "lr_schedule": (CONSTANT, r"lr_schedule.kind constant, was cosine; model.lr_schedule.warmup 0, was 0.05: give"),
    "share": (["--model.objectives.causal.share", "2"], r"model.objectives.causal.share 2.0, was 1.0"),
    "mask rate": (["--model.objectives.masked.mask_rate", "0.2"], r"model.objectives.masked.mask_rate 0.2, was 0.3"),
    "masking unit": (["--model.objectives.masked.unit", "word"], r"model.objectives.masked.unit word, was token"),
    "pairs": (["--model.objectives.order.within", "document"], r"order.within document, was paragraph: give"),
    "activation": (["--model.backbone.config.hidden_act", "gelu"], r"backbone.config.hidden_act gelu, was silu: give"),
    "norm": (["--model.backbone.config.rms_norm_eps", "1e-3"], r"backbone.config.rms_norm_eps 0.001, was 1e-06: give"),
    "balancer": (
        ["--model.balancer", "GradNorm"],
        r"model.balancer lm_objectives.GradNorm, was lm_objectives.Fixed: g",
    ),
    "balancer's argument": (
        ["--model.balancer", "Fixed", "--model.balancer.weights", "{causal: 2, masked: 1, order: 1}"],
        r"model.balancer.weights \{'causal': 2.0, .*, was None: give",
    ),
    "nested plug-in": (["--model.balancer", PACE], r"model.balancer lm_objectives.Curriculum, was lm_objectives.Fixed"),
    "precision": (["--trainer.precision", "bf16-true"], r"trainer.precision bf16-true, was 32-true: give"),
    "clipping": (["--trainer.gradient_clip_val", "1.0"], r"trainer.gradient_clip_val 1.0, was None: give"),
    "seed": (["--data.seed", "1", "--data.split_seed", "0"], r"data.seed 1, was 0: give"),
    "torch's seed": (["--seed_everything", "1"], r"seed_everything 1, was 0: give"),
    "rows": (["--data.global_batch_size", "24"], r"data.global_batch_size 24, was 12: give"),
    "multiple": (["--data.batch_multiple", "1"], r"data.batch_multiple 1, was 2: give"),
    "held-out rows": (["--data.validation_rows", "4"], r"data.validation_rows 4, was 8: give"),
    "packing": (["--data.packing", "false"], r"data.packing False, was True: give"),
    "steps in parts of which the rate moves": (
        ["--trainer.max_steps", "9"],
        r"trainer.max_steps 9, was 3 \(in parts of it: model.lr_schedule\): give",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_another_experiment_is_refused_and_nothing_written(
    case: str, place: Path, trained: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given, told = REFUSED[case]
    before = contents(trained)
    capfd.readouterr()
    assert fit(place, trained, "--ckpt_path", "last", *given) == 2
    line = complaint(capfd)
    assert re.search(f"error: expected the settings of the run that goes on, found .*{told}", line)
    assert f"begin a new run from these weights: --weights {trained / 'checkpoints' / 'last.ckpt'} in place of" in line
    assert contents(trained) == before


def test_every_difference_is_named_and_a_long_list_is_cut(
    place: Path, trained: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    many = [*REFUSED["share"][0], *REFUSED["mask rate"][0], *REFUSED["activation"][0], *REFUSED["held-out rows"][0]]
    capfd.readouterr()
    assert fit(place, trained, "--ckpt_path", "last", *many) == 2
    assert complaint(capfd).count(", was ") == 4
    assert fit(place, trained, "--ckpt_path", "last", *many, *CONSTANT, *REFUSED["rows"][0], *REFUSED["seed"][0],
               *REFUSED["precision"][0], *REFUSED["clipping"][0]) == 2  # fmt: skip
    line = complaint(capfd)
    assert line.count(", was ") == 8 and "; 2 more: give" in line


@pytest.mark.parametrize("change", ["validation_share", "split_seed", "language", "corpus"])
def test_a_run_goes_on_with_its_own_text_alone(
    change: str, place: Path, trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With the tokenizer that it had: a loaded one is the same, whatever the text and its split."""
    tokenizer = f"{read_checkpoint(str(trained / 'checkpoints' / 'last.ckpt'))[1].cache}/tokenizer"
    text = (place / "corpus.jsonl").read_text(encoding="utf-8")
    (tmp_path / "other.jsonl").write_text(text + '{"text": "Another one."}\n', encoding="utf-8")
    others = {"validation_share": 0.4, "split_seed": 1, "language": "de", "corpus": tmp_path / "other.jsonl"}
    other = [f"--data.{change}", others[change]]
    before = contents(trained)
    capfd.readouterr()
    assert fit(place, trained, "--ckpt_path", "last", "--data.tokenizer", tokenizer, *other) == 2
    told = rf"error: expected the settings of the run that goes on, found (.*; )?data.{change} \S+, was "
    assert re.search(told, capfd.readouterr().err)
    assert contents(trained) == before


MAY: dict[str, list[str]] = {
    "accumulation": ["--trainer.accumulate_grad_batches", "2"],
    "workers": ["--data.num_workers", "1"],
    "what a step that is not finite does": ["--model.on_nonfinite", "stop"],
    "callbacks": ["--trainer.callbacks", "[{class_path: lm_objectives.callbacks.GradientConflict}]"],
    "logging": ["--trainer.log_every_n_steps", "2", "--tracking.project", "another"],
    "a default that is written out": ["--model.objectives.causal.share", "1.0", "--model.balancer", "Fixed"],
    "more steps": ["--trainer.max_steps", "5"],
}


@pytest.fixture(scope="module")
def unbounded(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which nothing is in parts of its length."""
    root = tmp_path_factory.mktemp("unbounded") / "run"
    assert fit(place, root, *CONSTANT) == 0
    return root


@pytest.mark.parametrize("case", MAY)
def test_what_is_no_part_of_the_experiment_may_change(case: str, place: Path, unbounded: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    shutil.copytree(unbounded, root)
    given = {"--trainer.max_steps": "4"} | dict(zip(MAY[case][::2], MAY[case][1::2], strict=True))
    assert fit(place, root, "--ckpt_path", "last", *CONSTANT, *(text for pair in given.items() for text in pair)) == 0
    steps = [int(row["step"]) for row in table(root) if row["train/loss"]]
    assert steps == list(range(len(steps))) and len(steps) >= (3 if case == "logging" else 4)
    changed = (root / "config.yaml").read_bytes() != (unbounded / "config.yaml").read_bytes()
    assert changed, "the configuration of the run that really went on"


@pytest.mark.parametrize("bounded", [False, True])
def test_a_finished_run_says_how_it_could_go_on(
    bounded: bool, place: Path, trained: Path, unbounded: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root, settings = (trained, []) if bounded else (unbounded, CONSTANT)
    capfd.readouterr()
    assert fit(place, root, "--ckpt_path", "last", *settings) == 0
    further = "--weights begins a new run, since model.lr_schedule" if bounded else "a higher trainer.max_steps goes on"
    assert f"all 3 steps are done: {further}" in capfd.readouterr().err


@pytest.mark.parametrize("command", ["fit", "validate"])
def test_last_is_the_last_of_this_run(
    command: str, place: Path, trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where there is none, those near are named: set aside below, or of the runs next to it."""
    below = tmp_path / "run" / "previous" / "2" / "checkpoints" / "last.ckpt"
    below.parent.mkdir(parents=True)
    shutil.copy(trained / "checkpoints" / "last.ckpt", below)
    before = contents(tmp_path)
    for root in (tmp_path / "run", tmp_path / "rum"):
        near = below if root.name == "run" else tmp_path / "other" / "checkpoints" / "last.ckpt"
        if root.name == "rum":
            near.parent.mkdir(parents=True)
            below.replace(near)
            before = contents(tmp_path)
        capfd.readouterr()
        arguments = [command, "--config", place / "tiny.yaml", "--trainer.default_root_dir", root]
        assert run(*arguments, "--ckpt_path", "last") == 2
        line = complaint(capfd)
        assert f"expected a checkpoint of this run at {root / 'checkpoints' / 'last.ckpt'}, found none: " in line
        assert ("leave --ckpt_path out to start" in line) is (command == "fit")
        assert str(near.relative_to(tmp_path)) in line
        assert contents(tmp_path) == before


def test_the_latest_of_several_last_ones_is_taken(
    place: Path, trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As ModelCheckpoint's version counter names them."""
    shutil.copytree(trained, tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    last.rename(last.with_name("last-v1.ckpt"))
    last.write_text("an old one", encoding="utf-8")
    os.utime(last, (0, 0))
    arguments = ["validate", "--config", place / "tiny.yaml", "--trainer.default_root_dir", tmp_path / "run"]
    capfd.readouterr()
    assert run(*arguments, "--ckpt_path", "last") == 0
    captured = capfd.readouterr()
    assert "causal     loss (nats)" in captured.out and "untrained" not in captured.err


def test_a_refusal_behind_the_checks_writes_nothing_either(
    place: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ends a run before its first step, a new one too: the run before stays where it is."""
    shutil.copytree(trained, tmp_path / "run")
    before = contents(tmp_path)
    (tmp_path / "late_refusal.py").write_text(LATE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    late = ["--trainer.callbacks", "[{class_path: late_refusal.Late}]"]
    for more in ([], ["--ckpt_path", "last"]):
        assert fit(place, tmp_path / "run", *late, *more) == 2
        left = {name: text for name, text in contents(tmp_path).items() if name.startswith("run")}
        assert left | {"run/owner.json": before["run/owner.json"]} == before  # which says who held it last


LATE = """
import lightning.pytorch as L
from lm_objectives import InputError


class Late(L.Callback):
    def on_fit_start(self, *_):
        raise InputError("expected nothing, found something: mend it")
"""
