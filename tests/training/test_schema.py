"""A checkpoint that is not as it was written is refused in one line that names the key, whoever reads it."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from conftest import Train
from lightning.pytorch.callbacks import ModelCheckpoint
from utils.changed_checkpoints import GONE, changed, paths
from utils.command_line import complaint, run
from utils.exactness_runs import quiet

from lm_objectives import Backbone, CausalLM, Pretraining, TextDataModule
from lm_objectives.errors import InputError
from lm_objectives.training.checkpoint import read_checkpoint
from lm_objectives.training.run import load_run

OURS = "lm_objectives"
CONFIG = (OURS, "architecture", "config")
VOCABULARY = (OURS, "vocabulary")
BACKBONE = ("hyper_parameters", "backbone")
FIT = ("loops", "fit_loop")

Case = tuple[tuple[Any, ...], Any, str]

LOADED: list[Case] = [
    ((OURS,), GONE, "a checkpoint of lm-objectives"),
    ((OURS,), [], "a checkpoint of lm-objectives"),
    ((OURS, "format"), "0.7", "found one of 0.7"),
    (("state_dict",), GONE, "state_dict in the checkpoint at .*, found none"),
    (("state_dict",), [1.0], "state_dict .* to be a valid dictionary, found \\[1.0\\]"),
    (
        ("state_dict", "objectives.order.classifier.bias"),
        [0.0, 0.0],
        "state_dict .* objectives.order.classifier.bias is",
    ),
    (("state_dict", "objectives.order.classifier.bias"), torch.zeros(3), r"classifier.bias is \(2,\) .* and \(3,\)"),
    (("hyper_parameters",), GONE, "hyper_parameters in .*, found none"),
    (("hyper_parameters", "balancer"), GONE, "hyper_parameters.balancer in .*, found none"),
    (("hyper_parameters", "objectives"), ["causal"], "hyper_parameters.objectives .* to be a valid dictionary"),
    (("hyper_parameters", "on_nonfinite"), "go", "hyper_parameters.on_nonfinite .* to be 'skip' or 'stop', found 'go'"),
    (("hyper_parameters", "lr_schedule", "warmup"), -1, "hyper_parameters.lr_schedule .* warmup of 0 steps or more"),
    (("hyper_parameters", "_instantiator"), "os.system", "hyper_parameters._instantiator .*, found 'os.system'"),
    ((*BACKBONE, "class_path"), "os.system", "hyper_parameters .* inherits from Backbone, found os.system"),
    ((*BACKBONE, "class_path"), "lm_objectives.CausalLM", "hyper_parameters .* inherits from Backbone, found lm_obj"),
    ((*BACKBONE, "init_args", "size"), 3, "hyper_parameters .* lm_objectives.Backbone can be made with"),
    (
        ("hyper_parameters", "objectives", "masked", "init_args", "mask_rate"),
        2.0,
        "hyper_parameters .* a mask_rate betw",
    ),
    (("hparams",), {"_instantiator": "os.system"}, "hparams in .* to be None"),
    (("hparams_name",), "backbone", "hparams_name in "),
    (("pytorch-lightning_version",), "two", "pytorch-lightning_version .* to be a version such as"),
    (("global_step",), -1, "global_step .* greater than or equal to 0, found -1"),
    (("epoch",), "1", "epoch in .* to be a valid integer, found '1'"),
    (("loops",), GONE, "loops in .*, found none"),
    ((*FIT, "epoch_loop.batch_progress", "current", "ready"), None, "epoch_loop.batch_progress.current.ready "),
    (("callbacks",), {"Throughput": 3}, "callbacks.Throughput .* to be a valid dictionary"),
    (("callbacks",), {"Throughput": {}}, "callbacks in .* to be states .* Throughput with flops of at least 0"),
    (("callbacks",), {"Throughput": {"flops": "3"}}, "callbacks in .* Throughput with flops of at least 0"),
    ((OURS, "architecture"), GONE, "lm_objectives.architecture in .*, found none"),
    (
        (*CONFIG, "model_type"),
        "lama",
        "lm_objectives.architecture.config.model_type .* transformers knows, found 'lama'",
    ),
    ((*CONFIG, "hidden_size"), "wide", "lm_objectives.architecture .*hidden_size"),
    ((*CONFIG, "num_hidden_layers"), 0, "lm_objectives.architecture .* num_hidden_layers of at least 1"),
    ((OURS, "architecture", "tied"), 1, "lm_objectives.architecture.tied .* to be a valid boolean, found 1"),
    ((*VOCABULARY, "size"), 0, "lm_objectives.vocabulary.size .* greater than or equal to 1"),
    ((*VOCABULARY, "mask"), 10_000, "lm_objectives.vocabulary .* to be ids below their size"),
    ((*VOCABULARY, "special", 0), -1, "lm_objectives.vocabulary.special.0 .* found -1"),
    ((*VOCABULARY, "named_tokens"), [["[R]"]], "lm_objectives.vocabulary.named_tokens.0.1 in .*, found none"),
    ((*VOCABULARY, "more"), 1, "lm_objectives.vocabulary.more "),
    ((OURS, "seq_len"), 0, "lm_objectives.seq_len .* greater than or equal to 1, found 0"),
    ((OURS, "seq_len"), True, "lm_objectives.seq_len .* to be a valid integer, found True"),
    ((OURS, "steps"), -2, "lm_objectives.steps .* greater than or equal to -1"),
    ((OURS, "steps"), 2.0, "lm_objectives.steps .* to be a valid integer"),
    ((OURS, "seed"), 2**64, "lm_objectives.seed .* less than"),
    ((OURS, "tokens_read"), GONE, "lm_objectives.tokens_read in .*, found none"),
    ((OURS, "target_counts", "causal"), torch.ones(308), "lm_objectives.target_counts.causal .* of torch.int64"),
    ((OURS, "target_counts", "causal"), [1, 2], "lm_objectives.target_counts.causal .* instance of Tensor"),
    ((OURS, "activity"), [], "lm_objectives.activity .* ascending steps"),
    ((OURS, "activity", 0, 0), 3, "lm_objectives.activity .* the first at 0"),
    ((OURS, "activity", 0, 1), ("causal", "sums"), "lm_objectives.activity .* to name its objectives"),
    ((OURS, "pending", "accumulate"), 0, "lm_objectives.pending.accumulate .* greater than or equal to 1"),
    ((OURS, "pending", "row"), {"train/loss": "3"}, "lm_objectives.pending.row.train/loss .* valid number"),
    ((OURS, "pending", "callback_metrics"), {"val/loss": 1.0}, "lm_objectives.pending.callback_metrics.val/loss "),
    ((OURS, "tokenizer", "../../x"), "{}", r"lm_objectives.tokenizer .* files of a tokenizer, which '../../x' is not"),
    ((OURS, "tokenizer", "/tmp/x.json"), "{}", "lm_objectives.tokenizer .* which '/tmp/x.json' is not"),
    ((OURS, "tokenizer", "notes.txt"), "", "lm_objectives.tokenizer .* which 'notes.txt' is not"),
    ((OURS, "tokenizer", "tokenizer.json"), GONE, "lm_objectives.tokenizer .* tokenizer.json among them"),
    ((OURS, "tokenizer", "tokenizer.json"), "{", "a tokenizer's files, found some that do not load"),
    ((OURS, "tokenizer"), None, "a checkpoint that holds its tokenizer"),
    ((OURS, "cache"), 3, "lm_objectives.cache .* to be a valid string"),
    ((OURS, "experiment"), [], "lm_objectives.experiment .* to be a valid dictionary"),
]
RESUMED: list[Case] = [
    (("optimizer_states",), [], "optimizer_states .* at least 1 item"),
    (("optimizer_states", 0, "param_groups", 0, "params"), [0, 0], "optimizer_states.0 .* numbered from 0 on"),
    (("optimizer_states", 0, "param_groups", 0, "lr"), None, "optimizer_states.0.param_groups.0.lr"),
    (("optimizer_states", 0, "state"), GONE, "optimizer_states.0.state in .*, found none"),
    (("lr_schedulers",), GONE, "lr_schedulers in .*, found none"),
    (("lr_schedulers", 0, "last_epoch"), -1, "lr_schedulers.0.last_epoch "),
    (("lr_schedulers", 0, "base_lrs", 1), "x", "lr_schedulers.0.base_lrs.1"),
    (("callbacks",), GONE, "callbacks in .*, found none"),
    ((*FIT, "epoch_progress", "current"), GONE, "loops.fit_loop.epoch_progress.current in .*, found none"),
    (
        (*FIT, "epoch_loop.automatic_optimization.optim_progress", "optimizer", "step", "total", "completed"),
        -1,
        "step.to",
    ),
]


@pytest.fixture(scope="module")
def content(tiny_run: Path) -> dict[str, Any]:
    return torch.load(tiny_run, weights_only=True)


def named(case: Any) -> str:
    return ".".join(map(str, case)) if isinstance(case, tuple) else ""


@pytest.mark.parametrize(("path", "value", "line"), LOADED, ids=named)
def test_each_fault_is_one_line_that_names_its_key(
    path: tuple[Any, ...],
    value: Any,
    line: str,
    content: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(changed(content, path, value), "a.ckpt")
    opened = [load_run] if line.startswith("a ") and OURS in path else [load_run, Pretraining.load_from_checkpoint]
    for load in opened[: 1 if path[-1:] == ("tokenizer",) else 2]:
        with pytest.raises(InputError, match=line) as caught:
            load("a.ckpt")
        assert "\n" not in str(caught.value)
    assert [found.name for found in tmp_path.iterdir()] == ["a.ckpt"]


@pytest.mark.parametrize(("path", "value", "line"), RESUMED, ids=named)
def test_faults_that_only_a_run_that_goes_on_would_meet(
    path: tuple[Any, ...], value: Any, line: str, content: dict[str, Any], tmp_path: Path
) -> None:
    torch.save(changed(content, path, value), tmp_path / "a.ckpt")
    with pytest.raises(InputError, match=line) as caught:
        read_checkpoint(tmp_path / "a.ckpt", "resume")
    assert "\n" not in str(caught.value)
    if path[0] != "loops":
        assert load_run(tmp_path / "a.ckpt").module.tokens_read


def test_a_good_one_has_no_fault(tiny_run: Path) -> None:
    """Oracle: the run's own numbers; also of an open file, and of an address."""
    read_checkpoint(tiny_run, "resume")
    own = load_run(tiny_run).module
    with tiny_run.open("rb") as file:
        others = [Pretraining.load_from_checkpoint(source) for source in (tiny_run, file, f"file://{tiny_run}")]
    for other in others:
        assert other.tokens_read == own.tokens_read > 0 and other.lr_schedule == own.lr_schedule
        assert all(torch.equal(value, own.state_dict()[name]) for name, value in other.state_dict().items())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, train: Train) -> Path:
    """A folder with a run's checkpoint and its configuration."""
    folder = tmp_path_factory.mktemp("place")
    words = [f"The dog number {n} ran home. A cat sat there." for n in range(400)]
    (folder / "corpus.txt").write_text("\n\n".join(words), encoding="utf-8")
    (folder / "run.yaml").write_text(
        "trainer: {accelerator: cpu, max_steps: 2, default_root_dir: runs/a, limit_val_batches: 0, "
        "enable_progress_bar: false}\ntracking: {wandb: 'off'}\n"
        "model: {backbone: {model_type: llama, config: {hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, "
        "intermediate_size: 16}}, objectives: {causal: CausalLM}, lr_schedule: {kind: constant, warmup: 0}}\n"
        f"data: {{corpus: {folder}/corpus.txt, tokenizer: 300, seq_len: 16, global_batch_size: 4, "
        f"cache: {folder}/cache, documents: blank-line}}\n",
        encoding="utf-8",
    )
    with quiet(), pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run("fit", "--config", "run.yaml") == 0
    shutil.move(folder / "runs" / "a" / "checkpoints" / "last.ckpt", folder / "good.ckpt")
    shutil.rmtree(folder / "runs")
    return folder


COMMANDS = {
    "demo": ["--ckpt_path"],
    "export": ["--output", "out", "--ckpt_path"],
    "fit": ["--config", "run.yaml", "--trainer.max_steps", "3", "--ckpt_path"],
    "validate": ["--config", "run.yaml", "--trainer.limit_val_batches", "1", "--ckpt_path"],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        (("hyper_parameters",), GONE, "expected hyper_parameters in the checkpoint at bad.ckpt, found none"),
        ((*VOCABULARY, "pad"), -1, "expected lm_objectives.vocabulary.pad in the checkpoint at bad.ckpt to be"),
        ((OURS, "tokenizer", "../../x"), "{}", "which '../../x' is not"),
    ],
    ids=named,
)
def test_every_command_says_it_in_one_line_and_writes_nothing(
    command: str,
    path: tuple[Any, ...],
    value: Any,
    line: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(place)
    torch.save(changed(torch.load("good.ckpt", weights_only=True), path, value), "bad.ckpt")
    before = sorted(place.rglob("*"))
    assert run(command, *COMMANDS[command], "bad.ckpt") == 2
    assert line in complaint(capfd)
    assert sorted(place.rglob("*")) == before


@pytest.fixture
def stranger(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A folder with `bad.ckpt`, whose objective is of a module that leaves a file where it is imported; its name."""
    for name in ("run.yaml", "corpus.txt", "good.ckpt"):
        shutil.copy(place / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    name = f"strangers_{tmp_path.name}"
    Path(f"{name}.py").write_text(
        "from pathlib import Path\nfrom lm_objectives import CausalLM\nPath('imported').touch()\n\n\n"
        "class Mine(CausalLM):\n    pass\n",
        encoding="utf-8",
    )
    path = ("hyper_parameters", "objectives", "causal", "class_path")
    torch.save(changed(torch.load("good.ckpt", weights_only=True), path, f"{name}.Mine"), "bad.ckpt")
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_strangers_checkpoint_imports_nothing(command: str, stranger: str, capfd: pytest.CaptureFixture[str]) -> None:
    """`fit` and `validate` make what the configuration names, and nothing of the checkpoint's."""
    code = run(command, *COMMANDS[command], "bad.ckpt")
    assert not Path("imported").exists()
    if command in ("fit", "validate"):
        assert code == 0, capfd.readouterr().err
        return
    assert code == 2 and f"name it with --import_module {stranger}, or import it" in complaint(capfd)
    assert not Path("out").exists()
    assert run(command, "--import_module", stranger, *COMMANDS[command], "bad.ckpt") == 0
    assert Path("imported").exists()


@pytest.mark.parametrize("load", [load_run, Pretraining.load_from_checkpoint])
def test_nor_does_it_in_python(load: Any, stranger: str) -> None:
    with pytest.raises(InputError, match=f"^hyper_parameters in the checkpoint at bad.ckpt: .*{stranger}.Mine: where"):
        load("bad.ckpt")
    assert not Path("imported").exists()
    made = load("bad.ckpt", import_module=stranger)
    assert type(getattr(made, "module", made).objectives["causal"]).__name__ == "Mine"


@pytest.mark.parametrize("command", COMMANDS)
def test_weights_alone_serve_all_but_a_run_that_goes_on(
    command: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As `ModelCheckpoint(save_weights_only=True)` writes it: the keys that Lightning then leaves out."""
    for name in ("run.yaml", "corpus.txt", "good.ckpt"):
        shutil.copy(place / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    whole = torch.load("good.ckpt", weights_only=True)
    alone = {name: v for name, v in whole.items() if name not in ("optimizer_states", "lr_schedulers", "callbacks")}
    torch.save(alone, "weights.ckpt")
    code = run(command, *COMMANDS[command], "weights.ckpt")
    if command != "fit":
        assert code == 0, capfd.readouterr().err
        return
    assert code == 2 and not Path("runs").exists()
    said = complaint(capfd)
    assert (
        "expected a checkpoint with optimizer_states to go on from at weights.ckpt, found one of weights alone" in said
    )


@pytest.fixture
def data(tmp_path: Path, place: Path) -> TextDataModule:
    return TextDataModule(
        str(place / "corpus.txt"),
        tokenizer=300,
        seq_len=16,
        global_batch_size=4,
        documents="blank-line",
        cache=str(tmp_path),
    )


def trained(data: TextDataModule, steps: int, path: Path | None = None, **settings: Any) -> L.Trainer:
    config = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    with quiet():
        trainer = L.Trainer(
            max_steps=steps,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
            **{"enable_checkpointing": False} | settings,
        )
        trainer.fit(Pretraining(Backbone("llama", config), {"causal": CausalLM()}), data, ckpt_path=path)
    return trainer


def test_lightnings_own_ways_to_save_weights_alone(data: TextDataModule, tmp_path: Path) -> None:
    keeps = ModelCheckpoint(tmp_path / "kept", save_weights_only=True, save_last=True)
    trainer = trained(data, 2, enable_checkpointing=True, callbacks=[keeps])
    trainer.save_checkpoint(tmp_path / "saved.ckpt", weights_only=True)
    for path in (tmp_path / "kept" / "last.ckpt", tmp_path / "saved.ckpt"):
        assert load_run(path).module.tokens_read == trainer.lightning_module.tokens_read
        with pytest.raises(
            InputError, match="found one of weights alone: give one that was saved without save_weights_o"
        ):
            trained(data, 3, path)


def test_a_cache_that_goes_does_not_end_its_run(data: TextDataModule, tmp_path: Path) -> None:
    """The folder is removed after the first of two steps; the second is saved, with the tokenizer."""

    class Remove(L.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            shutil.rmtree(data.text.folder, ignore_errors=True)

    trainer = trained(data, 2, callbacks=[Remove()])
    assert not data.text.folder.exists()
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    run = load_run(tmp_path / "a.ckpt")
    assert run.cache is None and len(run.tokenizer) == run.module.vocabulary.size


VALUES = (GONE, None, "x", -1, [])


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked_signatures")
def test_whatever_is_changed_it_loads_or_is_one_line(content: dict[str, Any], tmp_path: Path) -> None:
    """Each key deleted or replaced, by two of the values in turn; every tenth of those that there are many of."""
    lists = ("state_dict", "optimizer_states", "loops")
    read = [path for path in paths(content) if path[:2] != (OURS, "experiment")]  # which a run that goes on reads
    chosen = [path for number, path in enumerate(read) if path[0] not in lists or number % 10 == 0]
    refused = 0
    with quiet():
        for number, path in enumerate(chosen):
            for value in (VALUES[number % 5], VALUES[(number + 2) % 5]):
                torch.save(changed(content, path, value), tmp_path / "a.ckpt")
                try:
                    load_run(tmp_path / "a.ckpt")
                except InputError as error:
                    refused += 1
                    assert "\n" not in str(error), path
    assert refused > len(chosen)


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked_signatures")
def test_whatever_is_changed_a_run_goes_on_or_says_why(data: TextDataModule, tmp_path: Path) -> None:
    """Keys that Lightning's Trainer restores; the run has its steps already, so that restoring is all that it does."""
    trained(data, 2).save_checkpoint(tmp_path / "a.ckpt")
    content = torch.load(tmp_path / "a.ckpt", weights_only=True)
    read = ("loops", "lr_schedulers", "optimizer_states", "callbacks", "epoch", "global_step")
    chosen = [path for path in paths(content) if path[0] in read and "state" not in path]
    chosen += [(OURS, "pending", name) for name in content[OURS]["pending"]]
    for number, path in enumerate(chosen):
        for value in (VALUES[number % 5], VALUES[(number + 2) % 5]):
            torch.save(changed(content, path, value), tmp_path / "a.ckpt")
            try:
                trained(data, 2, tmp_path / "a.ckpt")
            except InputError as error:
                assert "\n" not in str(error), path
    assert len(chosen) > 200
