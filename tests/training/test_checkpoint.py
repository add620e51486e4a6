"""Checkpoints: nothing in them is executed, those of other versions and models are refused, writing is atomic."""

import pickle
import resource
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from utils.exactness_runs import quiet

from lm_objectives import Backbone, MaskedLM, Pretraining
from lm_objectives.cli.main import run
from lm_objectives.errors import InputError, RunError
from lm_objectives.training.checkpoint import AtomicCheckpointIO, SavedState, check_same_shapes, read_checkpoint
from lm_objectives.training.run import load_run


class Trap:
    """What a pickle runs when it is loaded without care."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("trapped"),)  # type: ignore[return-value]


def test_a_pickle_is_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.ckpt").write_bytes(pickle.dumps({"lm_objectives": Trap()}))
    with pytest.raises(ValueError, match="found a file of another kind"):
        read_checkpoint("bad.ckpt")
    torch.save({"lm_objectives": Trap()}, tmp_path / "worse.ckpt")
    with pytest.raises(ValueError, match="found a file of another kind"):
        load_run("worse.ckpt")
    assert not (tmp_path / "trapped").exists()


def test_the_first_difference_is_named() -> None:
    own = {"a": torch.zeros(2), "b": torch.zeros(3, 4)}
    check_same_shapes(own, {name: tensor.clone() for name, tensor in own.items()})
    with pytest.raises(ValueError, match=r"b is \(3, 4\) in the model and \(3, 5\) in the checkpoint"):
        check_same_shapes(own, own | {"b": torch.zeros(3, 5)})
    with pytest.raises(ValueError, match=r"c is nothing in the model and \(1,\) in the checkpoint"):
        check_same_shapes(own, own | {"c": torch.zeros(1)})


# What 0.1 wrote: other keys, and no format.
OLD: dict[str, Any] = {
    "backbone": {"model_type": "llama"},
    "vocabulary": {"size": 300, "pad": 0, "bos": 1, "eos": 2, "mask": 3, "special": [0, 1, 2, 3], "named": []},
    "window": 32,
    "steps": 2,
    "seed": 0,
    "tokens_read": 512,
    "steps_skipped": 0,
    "accumulate": 1,
    "target_counts": {},
    "decisions": [[0, ["masked"]]],
    "unfinished": None,
    "tokenizer": {"tokenizer.json": "{}"},
    "cache": "cache",
    "rows": {},
}
REFUSED = (
    r"expected a checkpoint of lm-objectives 0\.2.*, found one of 0\.1: train anew, or use the version that wrote it"
)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "old.ckpt"
    torch.save({"state_dict": {}, "global_step": 2, "loops": {}, "lm_objectives": OLD}, path)
    return path


def test_a_checkpoint_of_another_version_is_refused(old: Path) -> None:
    for opened in (read_checkpoint, load_run):
        with pytest.raises(InputError, match=REFUSED) as caught:
            opened(str(old))
        assert str(old) in str(caught.value) and "\n" not in str(caught.value)
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    with pytest.raises(InputError, match=REFUSED):  # as the Trainer gives it
        Pretraining(Backbone("llama", small), {"masked": MaskedLM()}).on_load_checkpoint({"lm_objectives": OLD})
    with pytest.raises(InputError, match=r"found one of 0\.7: train anew"):
        SavedState.read({"lm_objectives": {"format": "0.7"}})


@pytest.mark.parametrize(
    "arguments",
    [
        ["demo", "--ckpt_path"],
        ["export", "--output", "out", "--ckpt_path"],
        ["fit", "--config", "run.yaml", "--ckpt_path"],
        ["validate", "--config", "run.yaml", "--ckpt_path"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_every_command_refuses_it_in_one_line(
    arguments: list[str], old: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(old.parent)
    Path("corpus.txt").write_text("A word.\n\nAnother one.", encoding="utf-8")
    Path("run.yaml").write_text(
        "model: {backbone: {model_type: llama}, objectives: {masked: MaskedLM}}\n"
        "data: {corpus: corpus.txt, tokenizer: 300}\ntrainer: {accelerator: cpu, max_steps: 1}\n",
        encoding="utf-8",
    )
    with quiet():
        assert run([*arguments, str(old)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "found one of 0.1: train anew" in line
    assert not Path("out").exists() and not Path("runs").exists()


def test_what_is_written_is_what_is_read(tiny_run: Path) -> None:
    """Oracle: the state of the loaded module, and of a second writing."""
    checkpoint, saved = read_checkpoint(str(tiny_run))
    module = load_run(str(tiny_run)).module
    again: dict[str, Any] = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(again)
    read = SavedState.read(again)
    alone = {"pending", "cache", "experiment"}  # which need a Trainer
    for name in {field.name for field in fields(SavedState)} - alone:
        one, other = getattr(saved, name), getattr(read, name)
        assert str(one) == str(other), name
    assert all(getattr(read, name) is None and getattr(saved, name) is not None for name in alone)
    assert (saved.seq_len, saved.steps, saved.tokens_read) == (32, 2, module.tokens_read) and saved.tokens_read > 0
    assert saved.activity == [(0, ("ahead", "causal", "masked", "order", "replaced"))]
    assert checkpoint["global_step"] == 2


def test_a_full_disk_is_one_line_and_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    """No file may grow past the limit: what a write then says is what a full disk says, with another number."""
    path, checkpoints = tmp_path / "last.ckpt", AtomicCheckpointIO()
    checkpoints.save_checkpoint({"step": 1}, path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(RunError, match=r"^expected room for .*last.ckpt, .*large.*: free"):
            checkpoints.save_checkpoint({"step": 2, "weights": torch.zeros(100_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert torch.load(path) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_matter_of_the_disk_stays_a_defect(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"(?i)pickle"):
        AtomicCheckpointIO().save_checkpoint({"function": lambda: None}, tmp_path / "a.ckpt")
    assert not list(tmp_path.iterdir())
