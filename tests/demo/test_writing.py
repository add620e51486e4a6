"""What is written greedily is what transformers' own `generate` writes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    BartForConditionalGeneration,
    GenerationConfig,
    GPT2LMHeadModel,
    LlamaForCausalLM,
    T5ForConditionalGeneration,
)
from utils.families import FAMILIES, SEQ2SEQ, VOCABULARY, some_ids

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.corruptions.span_denoising import SpanCorruption
from lm_objectives.demo.generate import generate, greedy_token, input_view
from lm_objectives.objectives.language_model import new_lm_head

MOST, WINDOW, PROMPT = 12, 24, 8
DECODERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "gpt2": (GPT2LMHeadModel, {}),
    "llama": (LlamaForCausalLM, {}),
    "llama untied": (LlamaForCausalLM, {"tie_word_embeddings": False}),
}
WRITERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "t5": (T5ForConditionalGeneration, {}),
    "t5 untied": (T5ForConditionalGeneration, {"tie_word_embeddings": False, "feed_forward_proj": "gated-gelu"}),
    "bart": (BartForConditionalGeneration, {}),
}


def lively(family: str, changes: dict[str, Any], corruption: Any = None) -> tuple[Backbone, nn.Linear | None]:
    """A model that writes different tokens, and its own head."""
    torch.manual_seed(0)
    backbone = Backbone(family.split()[0], (FAMILIES | SEQ2SEQ)[family.split()[0]] | changes)
    backbone.setup(VOCABULARY, WINDOW, {"spans": corruption} if corruption else None)
    head = new_lm_head(backbone)
    for module in (backbone, head):
        for parameter in module.parameters() if module is not None else ():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.5)
    return backbone.eval(), head


def head_of(backbone: Backbone, head: nn.Linear | None) -> Callable[[torch.Tensor], torch.Tensor]:
    weight = backbone.embedding if head is None else head.weight
    return lambda states: backbone.head_scale * states @ weight.T


def reference(kind: Any, backbone: Backbone, head: nn.Linear | None) -> Any:
    """The class of transformers with the same weights."""
    theirs = kind(backbone.config)
    inner = theirs if kind is T5ForConditionalGeneration else getattr(theirs, theirs.base_model_prefix)
    inner.load_state_dict(backbone.model.state_dict(), strict=False)
    if head is not None:
        theirs.get_output_embeddings().weight = nn.Parameter(head.weight.detach().clone())
    theirs.generation_config = GenerationConfig()  # BART's would end each text at the limit
    return theirs.eval()


def generated(theirs: Any, ids: torch.Tensor, end: int, **settings: Any) -> list[int]:
    asked = GenerationConfig(
        do_sample=False, num_beams=1, max_new_tokens=MOST, eos_token_id=end, pad_token_id=0, **settings
    )
    return theirs.generate(ids, attention_mask=torch.ones_like(ids), generation_config=asked)[0].tolist()


@pytest.mark.parametrize("name", DECODERS)
@torch.no_grad()
def test_a_decoder_continues_as_generate_does(name: str) -> None:
    """Oracle: `generate(do_sample=False)` of GPT2LMHeadModel and LlamaForCausalLM, ended by a token too."""
    kind, changes = DECODERS[name]
    backbone, head = lively(name, changes)
    theirs, different = reference(kind, backbone, head), set()
    for prompt in some_ids(4, PROMPT):
        read = input_view(prompt.tolist(), "causal")
        for end in (VOCABULARY.eos, generated(theirs, prompt[None], VOCABULARY.eos)[PROMPT + 3]):
            told = generate(backbone, read, head_of(backbone, head), greedy_token, MOST, end, WINDOW)
            assert told == generated(theirs, prompt[None], end)[PROMPT:]
            different |= set(told)
    assert len(different) > 10


@pytest.mark.parametrize("name", WRITERS)
@torch.no_grad()
def test_a_decoder_behind_an_encoder_writes_as_generate_does(name: str) -> None:
    """Oracle: `generate(do_sample=False)` of T5ForConditionalGeneration and BartForConditionalGeneration."""
    kind, changes = WRITERS[name]
    backbone, head = lively(name, changes, SpanCorruption())
    theirs, different = reference(kind, backbone, head), set()
    start = backbone.config.decoder_start_token_id
    for source in some_ids(12, PROMPT):
        read = input_view(source.tolist(), "bidirectional", decodes=True)
        for end in (VOCABULARY.eos, generated(theirs, source[None], VOCABULARY.eos, decoder_start_token_id=start)[3]):
            told = generate(backbone, read, head_of(backbone, head), greedy_token, MOST, end, WINDOW)
            assert told == generated(theirs, source[None], end, decoder_start_token_id=start)[1:]
            different |= set(told)
    assert len(different) > 4


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
@torch.no_grad()
def test_behind_a_prefix_each_token_is_the_likeliest_of_the_finished_row(family: str) -> None:
    """Oracle: one pass over the finished row, in which a token sees the prefix and what stands before it."""
    backbone, head = lively(family, {})
    prompt = some_ids(1, PROMPT)[0].tolist()
    read, logits = input_view(prompt, "prefix"), head_of(backbone, head)
    told = generate(backbone, read, logits, greedy_token, MOST, VOCABULARY.eos, WINDOW)
    whole = input_view([*prompt, *told], "prefix")
    [hidden] = backbone.encode([replace(whole, prefix_lengths=torch.tensor([PROMPT]))])
    assert logits(hidden[0, PROMPT - 1 : -1]).argmax(1).tolist() == told
    [plain] = backbone.encode([input_view([*prompt, *told], "causal")])
    assert (plain[0, PROMPT - 1] - hidden[0, PROMPT - 1]).abs().max() > 1e-3


@torch.no_grad()
def test_a_row_longer_than_the_window_forgets_its_first_tokens() -> None:
    """Oracle: a row that never had them."""
    backbone, head = lively("llama", {})
    ids = some_ids(1, WINDOW + 5)[0].tolist()
    long, short = (
        generate(
            backbone, input_view(read, "causal"), head_of(backbone, head), greedy_token, MOST, VOCABULARY.eos, WINDOW
        )
        for read in (ids, ids[5:])
    )
    assert long == short
