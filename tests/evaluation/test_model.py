"""Folders that transformers wrote: the heads that they have, read with their own tokenizer; the rest is one line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from utils.evaluated import SENTENCES, scores, texts_of, tokenizer
from utils.families import FAMILIES

from lm_objectives import InputError
from lm_objectives.data.tokenizer import make_tokenizer
from lm_objectives.evaluation.model import from_folder, untrained_backbone


def write(folder: Path, name: str, **changes: Any) -> Any:
    """A fresh model of a class of transformers, with a tokenizer; gives the model."""
    kind = getattr(transformers, name)
    family = kind.config_class.model_type
    sizes = FAMILIES.get(family, {}) | {"vocab_size": len(tokenizer()), "pad_token_id": 0} | changes
    sizes |= {name: 100 for name in ("max_position_embeddings", "n_positions") if name in sizes}
    torch.manual_seed(0)
    model = kind(kind.config_class(**sizes)).eval()
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return model


def test_a_causal_folder_without_bos_begins_with_eos_as_lm_eval_does(tmp_path: Path) -> None:
    model = write(tmp_path, "GPT2LMHeadModel")
    plain = make_tokenizer(300, SENTENCES * 3)
    for kind in ("bos_token", "cls_token", "pad_token", "mask_token"):
        setattr(plain, kind, None)
    plain.save_pretrained(tmp_path)
    found = from_folder(str(tmp_path))
    texts = texts_of(found, *SENTENCES)
    assert list(found.readings) == ["causal"] and found.vocabulary.size == len(tokenizer())
    for number, values in enumerate(scores(found, "causal", texts)):
        ids = torch.tensor([[plain.eos_token_id, *texts.tokens[texts.bounds[number] : texts.bounds[number + 1]]]])
        with torch.no_grad():
            expected = model(ids).logits[0, :-1].double().log_softmax(1).gather(1, ids[0, 1:, None])[:, 0]
        np.testing.assert_allclose(values, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "readings"),
    [
        ("BertForPreTraining", ["masked", "masked_word", "next"]),
        ("RobertaForMaskedLM", ["masked", "masked_word"]),
        ("T5ForConditionalGeneration", ["spans"]),
    ],
)
def test_a_class_has_the_readings_of_its_heads(name: str, readings: list[str], tmp_path: Path) -> None:
    sizes = (
        {"d_model": 32, "num_layers": 2, "num_heads": 4, "d_kv": 8, "d_ff": 48, "decoder_start_token_id": 0}
        if name.startswith("T5")
        else {}
    )
    write(tmp_path, name, **sizes)
    if name.startswith("T5"):
        with pytest.raises(InputError, match=r"the special token <extra_id_0> in the tokenizer"):
            scores(found := from_folder(str(tmp_path)), "spans", texts_of(found, "A cat."))
    assert list(from_folder(str(tmp_path)).readings) == readings


def test_what_is_no_model_that_can_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a folder with a config.json at .*, found none"):
        from_folder(str(tmp_path))
    write(tmp_path / "bare", "LlamaModel")
    with pytest.raises(InputError, match=r"expected a model with a head that can be read at .*, found LlamaModel"):
        from_folder(str(tmp_path / "bare"))
    write(tmp_path / "other", "DistilBertForMaskedLM", dim=32, n_layers=1, n_heads=2, hidden_dim=32)
    with pytest.raises(InputError, match=r"the weights of the head of a DistilBertForMaskedLM .* none for masked"):
        from_folder(str(tmp_path / "other"))
    write(tmp_path / "small", "LlamaForCausalLM", vocab_size=100)
    with pytest.raises(InputError, match=r"a tokenizer of at most 100 tokens in .*, found 300"):
        from_folder(str(tmp_path / "small"))


def test_an_untrained_backbone_has_the_same_shapes_and_other_weights(tmp_path: Path) -> None:
    write(tmp_path, "LlamaForCausalLM")
    model = from_folder(str(tmp_path))
    fresh, again, trained = untrained_backbone(model, 1), untrained_backbone(model, 1), model.module.backbone
    shapes = {name: value.shape for name, value in trained.state_dict().items()}
    assert {name: value.shape for name, value in fresh.state_dict().items()} == shapes
    assert torch.equal(fresh.embedding, again.embedding) and not torch.equal(fresh.embedding, trained.embedding)
