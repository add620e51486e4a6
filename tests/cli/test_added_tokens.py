"""Words added to pretrained weights, from `fit` to transformers' pipeline.

Oracle: the safetensors of the pretrained folder for the rows that were there, and transformers for what is exported.
"""

from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline
from utils.command_line import run

from lm_objectives.callbacks.progress import Progress
from lm_objectives.export import export

EMBEDDING = "model.embed_tokens.weight"
ADDED = ["zebra", "quokka"]


@pytest.mark.slow
def test_added_words_are_trained_and_exported(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretrained = tmp_path / "pretrained"
    export(str(tiny_run), str(pretrained), "causal")
    old = load_file(pretrained / "model.safetensors")[EMBEDDING]
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number in range(24):
        lines = [f"The zebra saw a quokka at tree {number * 12 + line}." for line in range(12)]
        (corpus / f"{number}.txt").write_text("\n".join(lines), encoding="utf-8")
    config = {
        "trainer": {"accelerator": "cpu", "max_steps": 6, "val_check_interval": 6, "log_every_n_steps": 1},
        "tracking": {"wandb": "off"},
        "model": {
            "backbone": {"pretrained": str(pretrained)},
            "objectives": {"causal": "CausalLM"},
            "optimizer": {"class_path": "AdamW", "init_args": {"lr": 0.01}},
        },
        "data": {
            "corpus": str(corpus),
            "tokenizer": str(pretrained),
            "add_tokens": ADDED,
            "seq_len": 32,
            "global_batch_size": 8,
            "cache": str(tmp_path / "cache"),
        },
    }
    (tmp_path / "words.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    begun: list[torch.Tensor] = []

    follow = Progress.on_train_start

    def keep(callback: Progress, trainer: L.Trainer, module: Any) -> None:
        begun.append(module.backbone.embedding.detach().clone())
        follow(callback, trainer, module)

    monkeypatch.setattr(Progress, "on_train_start", keep)
    assert run("fit", "--config", tmp_path / "words.yaml", "--trainer.default_root_dir", tmp_path / "run") == 0
    [first] = begun
    assert len(first) == len(old) + len(ADDED)
    torch.testing.assert_close(first[: len(old)], old, rtol=0, atol=0)
    torch.testing.assert_close(first[len(old) :], old.mean(0).expand(2, -1), rtol=0, atol=1e-3)

    checkpoint = next((tmp_path / "run").rglob("last.ckpt"))
    assert run("export", "--ckpt_path", checkpoint, "--output", tmp_path / "folder", "--objective", "causal") == 0
    capsys.readouterr()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "folder")
    zebra, quokka = tokenizer.convert_tokens_to_ids(ADDED)
    assert (zebra, quokka) == (len(old), len(old) + 1)
    ids = tokenizer("The zebra saw a quokka.", add_special_tokens=False)["input_ids"]
    assert ids.count(zebra) == ids.count(quokka) == 1
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "folder")
    trained = model.get_input_embeddings().weight.detach()
    assert trained.shape == first.shape
    assert (trained[len(old) :] - first[len(old) :]).abs().amax() > 1e-3  # they learn
    writer: Any = pipeline("text-generation", model=str(tmp_path / "folder"))
    [said] = writer("The zebra saw a", max_new_tokens=4, do_sample=False)
    assert said["generated_text"].startswith("The zebra saw a")
