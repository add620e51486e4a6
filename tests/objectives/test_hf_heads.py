"""Heads there and back: what `export` writes is where a run that begins from it stands."""

import copy
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from utils.families import FAMILIES, SENTINELS, SEQ2SEQ

from lm_objectives import Backbone, Pretraining
from lm_objectives.export import export
from lm_objectives.export.convert import convert
from lm_objectives.objectives import (
    CausalLM,
    MaskedLM,
    NextSentence,
    Objective,
    PrefixLM,
    ReplacedToken,
    SentenceOrder,
    SpanDenoising,
    TextDenoising,
)
from lm_objectives.training.run import load_run

Objectives = Callable[[], dict[str, Objective]]

CASES: dict[str, tuple[str, dict[str, Any], Objectives, str]] = {
    "causal": ("llama", {"tie_word_embeddings": False}, lambda: {"causal": CausalLM()}, "LlamaForCausalLM"),
    "tied": ("gpt2", {}, lambda: {"causal": CausalLM()}, "GPT2LMHeadModel"),
    "neox": ("gpt_neox", {}, lambda: {"causal": CausalLM()}, "GPTNeoXForCausalLM"),
    "bert": (
        "bert",
        {},
        lambda: {"next": NextSentence(), "masked": MaskedLM(shares_rows_with="next")},
        "BertForPreTraining",
    ),
    "next": ("bert", {}, lambda: {"next": NextSentence()}, "BertForNextSentencePrediction"),
    "roberta": ("roberta", {}, lambda: {"masked": MaskedLM()}, "RobertaForMaskedLM"),
    "modernbert": ("modernbert", {}, lambda: {"masked": MaskedLM()}, "ModernBertForMaskedLM"),
    "albert": (
        "albert",
        {},
        lambda: {"order": SentenceOrder(), "masked": MaskedLM(shares_rows_with="order")},
        "AlbertForPreTraining",
    ),
    "electra": ("electra", {}, lambda: {"replaced": ReplacedToken()}, "ElectraForPreTraining"),
    "t5": ("t5", {}, lambda: {"spans": SpanDenoising()}, "T5ForConditionalGeneration"),
    "t5_1_1": (
        "t5",
        {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
        lambda: {"spans": SpanDenoising()},
        "T5ForConditionalGeneration",
    ),
    "bart": ("bart", {}, lambda: {"text": TextDenoising()}, "BartForConditionalGeneration"),
    "bart_untied": (
        "bart",
        {"tie_word_embeddings": False},
        lambda: {"text": TextDenoising()},
        "BartForConditionalGeneration",
    ),
}


def said_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What this package logged."""
    return [record.getMessage() for record in caplog.records if record.name == "lm_objectives"]


def begun(folder: Path, like: Pretraining, objectives: dict[str, Objective]) -> Pretraining:
    """A module that starts from a folder, for the tokens of another one."""
    module = Pretraining(Backbone(pretrained=str(folder)), objectives)
    module.build(like.vocabulary, like.seq_len, 10)
    return module


@pytest.mark.parametrize("name", CASES)
def test_a_run_begins_where_the_exported_one_stands(
    name: str, train: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Oracle: the trained parameters, bit for bit; and transformers reads the folder with nothing missing or left."""
    family, changes, objectives, kind = CASES[name]
    checkpoint = str(train(Backbone(family, (FAMILIES | SEQ2SEQ)[family] | changes), objectives()))
    first = next(iter(objectives()))
    export(checkpoint, str(tmp_path / "out"), first)
    _, said = getattr(transformers, kind).from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(said.values()), said
    trained = load_run(checkpoint).module
    caplog.clear()  # of what training said
    with caplog.at_level(logging.INFO, "lm_objectives"):
        module = begun(tmp_path / "out", trained, objectives())
    assert module.state_dict().keys() == trained.state_dict().keys()
    for key, value in trained.state_dict().items():
        assert not isinstance(value, torch.Tensor) or torch.equal(module.state_dict()[key], value), key
    held = ["replaced", "replaced's generator"] if name == "electra" else sorted(objectives())
    assert said_in(caplog) == [f"{tmp_path / 'out'}: begins with {', '.join(held)}"]
    assert module.backbone.pretrained_weights is None


def test_the_generator_is_an_electra_for_masked_tokens_by_the_same_embeddings(train: Any, tmp_path: Path) -> None:
    """Clark et al. 2020, section 3.2: both embeddings are shared, of tokens and of positions."""
    checkpoint = train(Backbone("electra", FAMILIES["electra"]), {"replaced": ReplacedToken()})
    export(str(checkpoint), str(tmp_path / "out"), "replaced")
    generator, said = transformers.ElectraForMaskedLM.from_pretrained(
        tmp_path / "out" / "generator", output_loading_info=True
    )
    assert not any(said.values()), said
    assert (generator.config.hidden_size, generator.config.embedding_size) == (8, 16)
    whole = transformers.ElectraForPreTraining.from_pretrained(tmp_path / "out")
    for own, other in zip(
        generator.electra.embeddings.parameters(), whole.electra.embeddings.parameters(), strict=True
    ):
        assert torch.equal(own, other)


def test_heads_that_a_folder_lacks_are_fresh_and_named(
    tiny_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    export(str(tiny_run), str(tmp_path / "out"), "causal")
    trained = load_run(str(tiny_run)).module
    objectives = {"causal": CausalLM(), "masked": MaskedLM(), "order": SentenceOrder(), "replaced": ReplacedToken()}
    with caplog.at_level(logging.INFO, "lm_objectives"):
        begun(tmp_path / "out", trained, objectives)
    assert said_in(caplog) == [
        f"{tmp_path / 'out'}: begins with causal; fresh: masked, order, replaced, replaced's generator"
    ]


def test_a_masked_head_that_is_not_tied_is_fresh(train: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Ours predicts by the embedding, whatever the configuration says."""
    trained = load_run(str(train(Backbone("bert", FAMILIES["bert"]), {"masked": MaskedLM()}))).module
    config = transformers.BertConfig(
        **FAMILIES["bert"] | {"vocab_size": trained.vocabulary.size, "tie_word_embeddings": False}
    )
    transformers.BertForMaskedLM(config).save_pretrained(tmp_path)
    with caplog.at_level(logging.INFO, "lm_objectives"):
        begun(tmp_path, trained, {"masked": MaskedLM()})
    assert said_in(caplog) == [f"{tmp_path}: begins with no head; fresh: masked"]


@pytest.mark.parametrize(("family", "kind"), [("llama", "LlamaForCausalLM"), ("mt5", "MT5ForConditionalGeneration")])
def test_a_head_of_its_own_is_kept_where_the_configuration_says_tied(
    family: str, kind: str, train: Any, tmp_path: Path
) -> None:
    """Oracle: the folder's weights. Published mT5s are so; and the embedding stays what it was, there and back."""
    objectives = {"it": CausalLM() if family == "llama" else TextDenoising()}
    trained = load_run(str(train(Backbone(family, (FAMILIES | SEQ2SEQ)[family]), objectives))).module
    config = copy.deepcopy(trained.backbone.config)
    model = getattr(transformers, kind)(config)
    model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight))
    model.save_pretrained(tmp_path / "begun")
    module = begun(tmp_path / "begun", trained, objectives)
    assert torch.equal(module.objectives["it"].lm_head.weight, model.lm_head.weight)
    [written] = convert(module, "it").values()
    assert torch.equal(written.lm_head.weight, model.lm_head.weight)
    for part in (module.backbone.embedding, written.get_input_embeddings().weight):
        assert torch.equal(part, model.get_input_embeddings().weight)


@pytest.mark.parametrize("objective", [TextDenoising(), SpanDenoising(), PrefixLM(layout="encoder-decoder")])
def test_a_bias_that_our_head_has_not_is_one_clear_line(objective: Objective, tmp_path: Path) -> None:
    config = transformers.BartConfig(**SEQ2SEQ["bart"], vocab_size=67)
    model = transformers.BartForConditionalGeneration(config)
    model.final_logits_bias[0, 5] = 1.0
    model.save_pretrained(tmp_path)
    message = (
        r"^expected a head in .* that is a linear map alone, found that of a BartForConditionalGeneration, with other"
    )
    with pytest.raises(ValueError, match=message):
        Pretraining(Backbone(pretrained=str(tmp_path)), {"it": objective}).build(SENTINELS, 12, 10)


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("phi", {}),
        ("granite", {"logits_scaling": 8.0}),
        ("cohere", {}),
        ("gemma3_text", {"final_logit_softcapping": 0.05}),
    ],
)
def test_logits_that_a_family_changes_behind_its_head_are_one_clear_line(
    family: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    """Oracle: the classes of transformers: a bias, a divisor, a factor, a cap. The bare model begins nonetheless."""
    sizes = FAMILIES.get(family, FAMILIES["llama"]) | {
        "tie_word_embeddings": family != "phi",
        "pad_token_id": 0,
        "bos_token_id": 1,
    }
    config = transformers.AutoConfig.for_model(family, **sizes | {"vocab_size": 67, "eos_token_id": 2} | changes)
    model = transformers.AutoModelForCausalLM.from_config(config)
    if family == "phi":
        torch.nn.init.normal_(model.lm_head.bias)
    model.save_pretrained(tmp_path / "whole")
    model.base_model.save_pretrained(tmp_path / "bare")
    with pytest.raises(
        ValueError, match=rf"^expected a head in .* found that of a {type(model).__name__}, with other"
    ) as raised:
        Pretraining(Backbone(pretrained=str(tmp_path / "whole")), {"it": CausalLM()}).build(SENTINELS, 12, 10)
    assert "\n" not in str(raised.value)
    Pretraining(Backbone(pretrained=str(tmp_path / "bare")), {"it": CausalLM()}).build(SENTINELS, 12, 10)


def test_a_generator_of_another_width_is_one_clear_line(train: Any, tmp_path: Path) -> None:
    checkpoint = train(Backbone("electra", FAMILIES["electra"]), {"replaced": ReplacedToken()})
    export(str(checkpoint), str(tmp_path / "out"), "replaced")
    with pytest.raises(ValueError, match=r"^expected .* of shape .* in .*generator, found .*: give the objective the"):
        begun(tmp_path / "out", load_run(str(checkpoint)).module, {"replaced": ReplacedToken(generator=0.5)})


def test_a_generator_of_other_embeddings_is_said(train: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoint = train(Backbone("electra", FAMILIES["electra"]), {"replaced": ReplacedToken()})
    export(str(checkpoint), str(tmp_path / "out"), "replaced")
    generator = transformers.ElectraForMaskedLM.from_pretrained(tmp_path / "out" / "generator")
    with torch.no_grad():
        generator.electra.embeddings.position_embeddings.weight.add_(1.0)
    generator.save_pretrained(tmp_path / "out" / "generator")
    begun(tmp_path / "out", load_run(str(checkpoint)).module, {"replaced": ReplacedToken()})
    [line] = [line for line in said_in(caplog) if "is not the backbone's" in line]
    assert "embeddings.position_embeddings.weight is not the backbone's" in line
