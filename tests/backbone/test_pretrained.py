"""Folders of transformers as a beginning: what is read, made to fit, refused and said."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM
from utils.families import FAMILIES, VOCABULARY

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.corruptions.masked_lm import TokenMasking
from lm_objectives.views import Vocabulary


def written(folder: Path, family: str = "llama", auto: type = AutoModelForCausalLM, **changes: object) -> Path:
    """A folder of a fresh model with as many tokens as VOCABULARY."""
    config = AutoConfig.for_model(family, **FAMILIES.get(family, {}) | {"vocab_size": VOCABULARY.size} | changes)
    auto.from_config(config).save_pretrained(folder)  # type: ignore[attr-defined]
    return folder


def begun(folder: Path, vocabulary: Vocabulary = VOCABULARY) -> Backbone:
    backbone = Backbone(pretrained=str(folder))
    backbone.setup(vocabulary, 12)
    return backbone


def of_size(size: int, *special: int) -> Vocabulary:
    return Vocabulary(size=size, pad=0, bos=1, eos=2, mask=3, special=(0, 1, 2, 3, *special))


def test_it_drops_out_in_training(tmp_path: Path) -> None:
    """transformers reads models as ones that are only asked."""
    backbone = begun(written(tmp_path, "bert", AutoModelForMaskedLM, hidden_dropout_prob=0.5))
    assert all(module.training for module in backbone.modules())


def test_a_model_whose_halves_lie_beside_its_head(tmp_path: Path) -> None:
    """T5ForConditionalGeneration has no T5Model within."""
    sizes = {"d_model": 32, "num_heads": 4, "d_kv": 8, "d_ff": 48, "num_layers": 2}
    written(tmp_path, "t5", AutoModelForSeq2SeqLM, decoder_start_token_id=0, **sizes)
    backbone = begun(tmp_path)
    assert type(backbone.model).__name__ == "T5Model"
    saved = load_file(tmp_path / "model.safetensors")
    for name, parameter in backbone.model.named_parameters():
        assert torch.equal(parameter, saved[name]), name


@pytest.mark.parametrize(("frame", "missing"), [("bos", "bos"), ("bos-eos", "bos and eos")])
def test_a_frame_of_tokens_that_the_weights_never_read_is_one_line(tmp_path: Path, frame: Any, missing: str) -> None:
    written(tmp_path)
    backbone = Backbone(pretrained=str(tmp_path))
    added = Vocabulary(69, pad=0, bos=67, eos=68, mask=3, special=(0, 3, 67, 68))
    message = rf"^expected a tokenizer with {missing} in .* for frame {frame} of objective masked, found none: set its"
    with pytest.raises(ValueError, match=message):
        backbone.setup(added, 12, {"masked": TokenMasking(frame=frame)})
    backbone.setup(added, 12, {"masked": TokenMasking()})


def test_special_tokens_that_were_added_get_rows_and_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written(tmp_path)
    with caplog.at_level(logging.INFO, "lm_objectives"):
        backbone = begun(tmp_path, of_size(69, 67, 68))
    assert len(backbone.embedding) == 69
    assert caplog.messages == [
        f"{tmp_path}: embedding of 67 rows made one of 69, since tokens [67, 68] were added, "
        "which start near the mean of the others"
    ]


def test_added_rows_leave_the_logits_where_they_were(tmp_path: Path) -> None:
    """Oracle: rows drawn about the mean of the others (Hewitt 2021) are no likelier than the others on average."""
    config = AutoConfig.for_model("llama", **FAMILIES["llama"] | {"vocab_size": 67})
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        model.get_input_embeddings().weight.add_(3.0)
    model.save_pretrained(tmp_path)
    backbone = begun(tmp_path, of_size(69, 67, 68))
    assert backbone.embedding[67:].mean().item() == pytest.approx(3.0, abs=0.2)


@pytest.mark.parametrize("tokens", [of_size(70), of_size(400), of_size(58)])
def test_another_number_of_tokens_is_one_clear_line(tmp_path: Path, tokens: Vocabulary) -> None:
    written(tmp_path)
    with pytest.raises(ValueError, match=r"^expected the tokenizer of the weights in .* know 67 tokens, found one of"):
        begun(tmp_path, tokens)


def test_rows_for_no_token_are_cut_and_it_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    written(tmp_path)
    with caplog.at_level(logging.INFO, "lm_objectives"):
        assert len(begun(tmp_path, of_size(60)).embedding) == 60
    assert caplog.messages == [f"{tmp_path}: embedding of 67 rows made one of 60, since the others belong to no token"]


def test_weights_of_another_family_are_one_clear_line(tmp_path: Path) -> None:
    written(tmp_path / "bert", "bert", AutoModelForMaskedLM)
    written(tmp_path / "llama")
    (tmp_path / "bert" / "model.safetensors").replace(tmp_path / "llama" / "model.safetensors")
    with pytest.raises(
        ValueError, match=r"^expected the weights of a llama in .*, found none for model\.[\w.]+ and \d+ others: check"
    ):
        begun(tmp_path / "llama")


def test_weights_of_another_size_are_one_clear_line(tmp_path: Path) -> None:
    written(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"intermediate_size": 52}))
    with pytest.raises(
        ValueError, match=r"^expected safetensors weights in .*, found RuntimeError .*: check"
    ) as raised:
        begun(tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kept", [0.0, 0.5])
def test_weights_that_were_cut_are_one_clear_line(tmp_path: Path, kept: float) -> None:
    whole = (written(tmp_path) / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(
        ValueError, match=r"^expected safetensors weights in .*, found SafetensorError \(.* header.*\): check model"
    ):
        begun(tmp_path)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    """They can run code as they load."""
    written(tmp_path)
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"^expected safetensors weights in .*no file named model.safetensors"):
        begun(tmp_path)


@pytest.mark.parametrize("named", [None, ["Unheard"], ["BertForMaskedLM"], ["AutoTokenizer"]])
def test_a_class_that_is_not_the_familys_reads_the_bare_model(tmp_path: Path, named: list[str] | None) -> None:
    written(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"architectures": named}))
    saved = load_file(tmp_path / "model.safetensors")
    assert torch.equal(begun(tmp_path).embedding, saved["model.embed_tokens.weight"])


def test_weights_that_nobody_reads_do_no_harm(tmp_path: Path) -> None:
    written(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    save_file(saved | {"score.weight": torch.ones(2, 32)}, tmp_path / "model.safetensors", {"format": "pt"})
    assert torch.equal(begun(tmp_path).embedding, saved["model.embed_tokens.weight"])
