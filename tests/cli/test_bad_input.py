"""Bad input: one line that says what was expected, what was found and how to mend it, exit code 2, nothing written."""

import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from utils.command_line import complaint, fit, run

STAGES = "{class_path: Curriculum, init_args: {pace: {class_path: Stages, init_args: {points: {order: [[5000, 1]]}}}}}"

# What is given after `fit --config tiny.yaml`, and what the line has to say of what was expected, found, and the mend.
BAD: dict[str, tuple[list[str], str]] = {
    "config missing": (["--config", "{tmp}/nope.yaml"], r"expected a config file at .*nope.yaml, found none: check"),
    "YAML broken": (["--config", "{tmp}/broken.yaml"], r"expected YAML in .*broken.yaml, found a mistake: .*line 3"),
    "no settings": (["--config", "{tmp}/list.yaml"], r"expected settings in .*list.yaml, found list: write"),
    "key twice": (
        ["--config", "{tmp}/twice.yaml"],
        r"each key once in .*twice.yaml, found lr on line 3 and again on line 4",
    ),
    "key twice in a flag": (
        ["--model.backbone.config", "{{hidden_size: 8, hidden_size: 16}}"],
        r"each key once in --model.backbone.config, found hidden_size on line 1 and again on line 1: keep",
    ),
    "deep flag": (["--data.seq_len", "[" * 10_000], r"at most 50 levels in --data.seq_len, found more on line 1"),
    "long number": (["--data.seq_len", "9" * 5_000], r"at most 300 digits in --data.seq_len, found one of 5,000"),
    "long path": (["--config", "x" * 5_000], r"expected a file or the name of a shipped configuration"),
    "null for a block": (
        ["--data", "null"],
        r"expected settings below data, found null: write settings below data, or",
    ),
    "null for all objectives": (["--model.objectives", "null"], r"settings below model.objectives, found null: write"),
    "null for nobody": (
        ["--model.objectives.nobody", "null"],
        r"an objective given before to drop with null in model.objectives, found nobody: there are causal, masked, or",
    ),
    "unknown key in a file": (
        ["--config", "{tmp}/key.yaml"],
        r"in .*key.yaml, found model.objectivs: did you mean model.objectives\?",
    ),
    "unknown key": (
        ["--data.seq_length", "3"],
        r"expected known settings, found data.seq_length: did you mean data.seq_len\?",
    ),
    "unknown key of a trainer": (
        ["--trainer.max_step", "3"],
        r"expected known settings, found trainer.max_step: did you mean trainer.max_steps\?",
    ),
    "unknown argument": (
        ["--model.objectives.masked.mask_rat", "0.3"],
        r"expected known arguments of MaskedLM, found mask_rat: did you mean mask_rate\?",
    ),
    "unknown objective": (
        ["--model.objectives.foo", "MaskdLM"],
        r"a class that inherits from Objective in model.objectives.foo, found 'MaskdLM': did you mean MaskedLM\? "
        r".*CausalLM.*my_module.MyClass",
    ),
    "unknown balancer": (
        ["--model.balancer", "GradNrm"],
        r"a class that inherits from Balancer in model.balancer, found 'GradNrm': did you mean GradNorm\? there are "
        r".*Uncertainty.*my_module.MyClass",
    ),
    "unknown module": (["--model.balancer", "foo.Bar"], r"expected a module foo for foo.Bar, found none: check"),
    "no objective": (
        ["--model.objectives.foo", "json.JSONDecoder"],
        r"expected a class that inherits from Objective in model.objectives.foo, found 'json.JSONDecoder'",
    ),
    "balancer's unknown argument": (
        ["--model.balancer", "GradNorm", "--model.balancer.alpa", "1"],
        r"expected known arguments of GradNorm, found alpa: did you mean alpha\?",
    ),
    "not a number": (
        ["--data.seq_len", "abc"],
        r"a whole number or pairs \[when, value\] for data.seq_len, found abc: write one of these\n",
    ),
    "not a number in a class": (
        ["--model.balancer", "GradNorm", "--model.balancer.alpha", "x"],
        r"expected a number for model.balancer.alpha, found x: write one\n",
    ),
    "no objectives": (["--config", "{tmp}/none.yaml"], r"expected at least one objective .*found none: add one"),
    "shares rows with nobody": (
        ["--model.objectives.m2", "MaskedLM", "--model.objectives.m2.shares_rows_with", "nobody"],
        r"expected shares_rows_with of objective m2 to name another objective, found 'nobody': there are causal",
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
        r"the settings of the run that goes on, found model.backbone.config.intermediate_size 48, was 64: give",
    ),
    "checkpoint of another family": (
        ["--ckpt_path", "{trained}/checkpoints/last.ckpt", "--model.backbone", "{{model_type: qwen3}}"],
        r"the settings of the run that goes on, found model.backbone.model_type qwen3, was llama; .*: give",
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
        r"run that goes on, found model.objectives.more lm_objectives.SentenceOrder, was nothing: give",
    ),
    "corpus missing": (["--data.corpus", "{tmp}/nope.txt"], r"expected .*found .*nope.txt|nope.txt.*found"),
    "corpus empty": (["--data.corpus", "{tmp}/empty.txt"], r"expected .*found .*"),
    "text field": (["--data.text_field", "body"], r"expected .*body.*found .*text"),
    "no GPU": (
        ["--trainer.accelerator", "gpu"],
        r"expected trainer settings .*found: No supported gpu.*: change.*trainer.accelerator auto",
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
    "lr_schedule": (
        ["--model.lr_schedule.kind", "cosin"],
        r"expected constant, linear, cosine, .* or wsd for model.lr_schedule.kind, found cosin: write one of these\n",
    ),
    "schedule without its settings": (
        ["--model.lr_schedule.kind", "step"],
        r"expected milestones for a step schedule, found none: write",
    ),
    "another schedule's settings": (
        ["--model.lr_schedule.decay_steps", "0.5"],
        r"expected no decay_steps in a cosine schedule, found 0.5: leave it out, or choose kind=wsd",
    ),
    "schedule longer than the training": (
        ["--model.lr_schedule.kind", "wsd", "--model.lr_schedule.decay_steps", "900"],
        r"expected a warmup and a decay within the training's 3 steps, found 1 and 900: shorten",
    ),
    "precision": (["--trainer.precision", "17"], r"bf16-mixed, .* or null for trainer.precision, found 17: write one"),
    "optimizer": (
        ["--model.optimizer", "AdmW"],
        r"a class that inherits from Optimizer in model.optimizer, found 'AdmW': did you mean AdamW\? there are .*Muon",
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
        r"expected known arguments of model.optimizer, found lrr: did you mean lr\?",
    ),
    "argument of another optimizer": (
        ["--model.optimizer", "SGD", "--model.optimizer.betas", "[0.9, 0.99]"],
        r"expected known arguments of model.optimizer, found betas: there are lr, momentum",
    ),
    "argument of another optimizer in a file": (
        ["--config", "{tmp}/betas.yaml"],
        r"expected known arguments of model.optimizer, found betas: there are lr, momentum",
    ),
    "optimizer's arguments beside its class": (
        ["--config", "{tmp}/beside.yaml"],
        r"inherits from .*Optimizer or null for model.optimizer, found \{'class_path': 'SGD', 'lr': 0.1\}: write one",
    ),
    "Adafactor's unknown argument": (
        ["--model.optimizer", "Adafactor", "--model.optimizer.momentum", ".9"],
        r"expected known arguments of model.optimizer, found momentum: there are lr, eps, clip_threshold",
    ),
    "optimizer's word for a number": (
        ["--model.optimizer", "AdamW", "--model.optimizer.lr", "high"],
        r"expected a number for model.optimizer.lr, found high: write one\n",
    ),
    "optimizer's number for a word": (
        ["--model.optimizer", "SGD", "--model.optimizer.momentum", "high"],
        r"expected a number for model.optimizer.momentum, found high: write one\n",
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
    "strategy": (
        ["--trainer.strategy", "foo"],
        r"expected trainer.strategy auto or ddp, found foo: choose one of these",
    ),
    "no last checkpoint": (
        ["--ckpt_path", "last"],
        r"expected a checkpoint of this run at .*last.ckpt, found none: leave --ckpt_path out to start",
    ),
    "no best checkpoint": (["--ckpt_path", "best"], r"expected a checkpoint at best, found no such file"),
    "abbreviation": (
        ["--data.seq", "8"],
        r"expected known settings, found data.seq: did you mean data.seq_len\?",
    ),
    "nothing to a name": (["foo"], r"unrecognized arguments: foo: write settings as --name value"),
    "monitor of nobody": (
        ["--trainer.callbacks", "[{{class_path: EarlyStopping, init_args: {{monitor: val/foo/loss}}}}]"],
        r"EarlyStopping to monitor .*found val/foo/loss: did you mean val/order/loss\? there are val/causal/accuracy, ",
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
    (tmp / "twice.yaml").write_text("model:\n  optimizer:\n    lr: 1\n    lr: 2\n", encoding="utf-8")
    optimizer = "model: {optimizer: {class_path: SGD, init_args: {betas: [0.9, 0.99]}}}"
    (tmp / "betas.yaml").write_text(optimizer, encoding="utf-8")
    (tmp / "beside.yaml").write_text("model: {optimizer: {class_path: SGD, lr: 0.1}}", encoding="utf-8")
    (tmp / "vision").mkdir()
    (tmp / "vision" / "config.json").write_text('{"model_type": "resnet"}', encoding="utf-8")
    (tmp / "empty.txt").write_text("", encoding="utf-8")
    return tmp


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


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["frobnicate"],
            r"expected a command, found 'frobnicate': there are fit, prepare, validate, evaluate, compare, demo, ",
        ),
        (["fti"], r"found 'fti': did you mean fit\?"),
        (["fit"], r"expected settings, found none: give a --config"),
        (["demo", "nope.ckpt"], r"unrecognized arguments: nope.ckpt: write settings as --name value"),
        (["demo", "--ckpt_path", "nope.ckpt"], r"expected a checkpoint at nope.ckpt, found no such file: check"),
        (
            ["export", "nope.ckpt", "--folder", "x"],
            r"unrecognized arguments: .*--folder x: there are ckpt_path, output, objective, import_module\n",
        ),
        (["export", "--ckpt_path", "nope.ckpt"], r"arguments are required: output"),
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


RENAMED = {
    "data.window": ("8", "data.seq_len"),
    "data.rows_per_step": ("8", "data.global_batch_size"),
    "data.unit": ("8", "data.batch_multiple"),
    "model.schedule.kind": ("linear", "model.lr_schedule.kind"),
    "model.schedule.final": ("0.1", "model.lr_schedule.min_lr_ratio"),
    "model.lr_schedule.final": ("0.1", "model.lr_schedule.min_lr_ratio"),
    "model.lr_schedule.hold": ("8", "model.lr_schedule.hold_steps"),
    "model.lr_schedule.decay": ("8", "model.lr_schedule.decay_steps"),
    "model.lr_schedule.shape": ("linear", "model.lr_schedule.decay_type"),
    "model.objectives.masked.init_args.view_of": ("order", "shares_rows_with"),
    "model.objectives.spans.init_args.rate": ("0.2", "noise_density"),
    "model.objectives.spans.init_args.mean": ("4.0", "mean_noise_span_length"),
    "model.balancer.init_args.pace.init_args.flat": ("0.1", "plateau_tolerance"),
    "model.balancer.init_args.pace.init_args.target": ("{causal: 3.0}", "target_loss"),
}
PLUGINS = {
    "model.objectives.masked.class_path": "MaskedLM",
    "model.objectives.spans.class_path": "SpanDenoising",
    "model.balancer.class_path": "Curriculum",
    "model.balancer.init_args.pace.class_path": "ByDifficulty",
}


@pytest.mark.parametrize("by", ["flag", "file"])
@pytest.mark.parametrize("old", RENAMED)
def test_a_name_of_earlier_versions_is_unknown_and_the_hint_has_the_new_one(
    old: str, by: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    value, new = RENAMED[old]
    settings = {key: name for key, name in PLUGINS.items() if old.startswith(key.removesuffix("class_path"))}
    settings[old] = value
    if by == "flag":
        flags = [
            f"--{key.replace('.init_args', '').removesuffix('.class_path')}={given}" for key, given in settings.items()
        ]
    else:
        content: dict[str, Any] = {}
        for key, given in settings.items():
            *groups, name = key.split(".")
            inner = content
            for group in groups:
                inner = inner.setdefault(group, {})
            inner[name] = yaml.safe_load(given)
        (tmp_path / "old.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        flags = [f"--config={tmp_path / 'old.yaml'}"]
    capfd.readouterr()
    assert run("fit", *flags) == 2
    line = complaint(capfd)
    assert f": did you mean {new}?" in line
    assert "expected known " in line


def test_an_old_name_in_a_mapping_by_flag(place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert fit(place, tmp_path / "run", "--model.lr_schedule", "{final: 0.1}") == 2
    assert "found model.lr_schedule.final: did you mean model.lr_schedule.min_lr_ratio?" in complaint(capfd)


FAILING = """
import torch
from lm_objectives import Balancer
from lm_objectives.errors import InputError


class Defect(Balancer):
    def __init__(self) -> None:
        super().__init__()
        raise ValueError("expected a plan, found none")

    def weights(self, step):
        return self.initial_losses


class Input(Defect):
    def __init__(self) -> None:
        raise InputError("expected a plan, found none: make one")


class Optimizer(torch.optim.SGD):
    def __init__(self, params, lr: float = 0.1) -> None:
        raise ValueError("expected a plan, found none")
"""


@pytest.fixture
def failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "failing.py").write_text(FAILING, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "failing", raising=False)


@pytest.mark.usefixtures("failing")
@pytest.mark.parametrize("plugin", ["balancer", "optimizer"])
def test_what_a_users_own_class_raises_keeps_its_traceback(plugin: str, place: Path, tmp_path: Path) -> None:
    """Whatever its wording: the type decides."""
    kind = "Defect" if plugin == "balancer" else "Optimizer"
    with pytest.raises(ValueError, match="expected a plan, found none"):
        fit(place, tmp_path / "run", f"--model.{plugin}", f"failing.{kind}")


@pytest.mark.usefixtures("failing")
def test_an_input_error_of_a_users_own_class_is_one_line(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """And nothing of the parser's that wraps it."""
    assert fit(place, tmp_path / "run", "--model.balancer", "failing.Input") == 2
    assert complaint(capfd) == "lm-objectives: error: expected a plan, found none: make one\n"
