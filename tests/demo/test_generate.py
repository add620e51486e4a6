"""Greedy tokens are those of transformers' own `generate`, samples come as often as the nucleus says."""

from dataclasses import replace
from typing import Any

import numpy as np
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
from lm_objectives.demo.generate import Sampling, generate, greedy_token, input_view
from lm_objectives.objectives import CausalLM, PrefixLM
from lm_objectives.training.module import Pretraining


@pytest.mark.parametrize(
    ("temperature", "top_p", "expected"),
    [
        (1.0, 1.0, [0.5, 0.3, 0.15, 0.05]),
        (1.0, 0.9, [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0]),  # .5 + .3 < .9 <= .5 + .3 + .15
        (1.0, 0.5, [1, 0, 0, 0]),
        (0.5, 1.0, [0.25 / 0.365, 0.09 / 0.365, 0.0225 / 0.365, 0.0025 / 0.365]),  # squares, renormalised
        (2.0, 0.01, [1, 0, 0, 0]),
    ],
)
def test_samples_come_as_often_as_the_nucleus_says(temperature: float, top_p: float, expected: list[float]) -> None:
    probabilities = torch.tensor([0.05, 0.5, 0.15, 0.3])  # tokens 1, 3, 2, 0 by rank
    sampler, draws = Sampling(temperature=temperature, top_p=top_p).token_sampler(), 3000
    samples = [sampler(probabilities.log()) for _ in range(draws)]
    frequency = np.bincount(samples, minlength=4)[[1, 3, 2, 0]] / draws
    sigma = np.sqrt(np.array(expected) * (1 - np.array(expected)) / draws)
    assert (np.abs(frequency - expected) <= 4 * sigma).all()


@pytest.mark.parametrize("temperature", [0.3, 0.8, 1.0, 2.5])
@pytest.mark.parametrize("top_p", [0.01, 0.3, 0.9, 0.999])
def test_samples_lie_in_the_nucleus(temperature: float, top_p: float) -> None:
    """Oracle: the fewest likeliest tokens that hold top_p, counted in numpy."""
    for seed in range(5):
        logits = 3 * torch.randn(50, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        weights = np.exp(logits.numpy() / temperature)
        ranked = np.argsort(-weights)
        size = int(np.searchsorted(np.cumsum(weights[ranked] / weights.sum()), top_p)) + 1
        sampler = Sampling(temperature=temperature, top_p=top_p, seed=seed).token_sampler()
        samples = {sampler(logits) for _ in range(50)}
        assert samples <= set(ranked[:size].tolist())


def test_a_seed_draws_the_same_and_greedy_does_not_draw() -> None:
    logits = torch.tensor([0.0, 0.3, 0.1, 0.3])

    def drawn(**settings: Any) -> list[int]:
        choose = Sampling(top_p=1.0, **settings).token_sampler()
        return [choose(logits) for _ in range(20)]

    assert drawn(seed=1) == drawn(seed=1) != drawn(seed=2)
    assert drawn(seed=1, greedy=True) == drawn(seed=2, greedy=True, temperature=5.0) == [1] * 20
    assert greedy_token(logits) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tokens": 0}, "expected at least 1 token to continue with, found 0"),
        ({"temperature": 0.0}, r"expected a temperature above 0, found 0\.0"),
        ({"temperature": float("nan")}, "expected a temperature above 0, found nan"),
        ({"top_p": 0.0}, r"expected top_p above 0 and at most 1, found 0\.0"),
        ({"top_p": 1.5}, r"expected top_p above 0 and at most 1, found 1\.5"),
    ],
)
def test_settings_out_of_range_are_one_clear_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampling(**settings)


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


def lively(family: str, changes: dict[str, Any], objective: Any) -> tuple[Pretraining, Any]:
    """A model that generates different tokens, and its objective."""
    torch.manual_seed(0)
    name = family.split()[0]
    module = Pretraining(Backbone(name, (FAMILIES | SEQ2SEQ)[name] | changes), {"it": objective})
    module.build(VOCABULARY, WINDOW, 1)
    for parameter in module.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.5)
    return module.eval(), module.objectives["it"]


def reference(kind: Any, backbone: Backbone, head: nn.Linear | None) -> Any:
    """The class of transformers with the same weights."""
    theirs = kind(backbone.config)
    inner = theirs if kind is T5ForConditionalGeneration else getattr(theirs, theirs.base_model_prefix)
    inner.load_state_dict(backbone.model.state_dict(), strict=False)
    if head is not None:
        theirs.get_output_embeddings().weight = nn.Parameter(head.weight.detach().clone())
    theirs.generation_config = GenerationConfig()  # BART's would end each text at the limit
    return theirs.eval()


def written_by(theirs: Any, ids: torch.Tensor, end: int, **settings: Any) -> list[int]:
    asked = GenerationConfig(
        do_sample=False, num_beams=1, max_new_tokens=MOST, eos_token_id=end, pad_token_id=0, **settings
    )
    return theirs.generate(ids, attention_mask=torch.ones_like(ids), generation_config=asked)[0].tolist()


@pytest.mark.parametrize("name", DECODERS)
@torch.no_grad()
def test_a_decoder_continues_as_generate_does(name: str) -> None:
    """Oracle: `generate(do_sample=False)` of GPT2LMHeadModel and LlamaForCausalLM, ended by a token too."""
    kind, changes = DECODERS[name]
    module, objective = lively(name, changes, CausalLM())
    theirs, different = reference(kind, module.backbone, objective.lm_head), set()
    for prompt in some_ids(4, PROMPT):
        for end in (VOCABULARY.eos, written_by(theirs, prompt[None], VOCABULARY.eos)[PROMPT + 3]):
            module.vocabulary = replace(VOCABULARY, eos=end)
            told = generate(objective, module, prompt.tolist(), greedy_token, MOST)
            assert told == written_by(theirs, prompt[None], end)[PROMPT:]
            different |= set(told)
    assert len(different) > 10


@pytest.mark.parametrize("name", WRITERS)
@torch.no_grad()
def test_a_decoder_after_an_encoder_writes_as_generate_does(name: str) -> None:
    """Oracle: `generate(do_sample=False)` of T5ForConditionalGeneration and BartForConditionalGeneration."""
    kind, changes = WRITERS[name]
    module, objective = lively(name, changes, PrefixLM(layout="encoder-decoder"))
    theirs, different = reference(kind, module.backbone, objective.lm_head), set()
    start = module.backbone.config.decoder_start_token_id
    for source in some_ids(12, PROMPT):
        first = written_by(theirs, source[None], VOCABULARY.eos, decoder_start_token_id=start)
        for end in (VOCABULARY.eos, first[min(3, len(first) - 1)]):
            module.vocabulary = replace(VOCABULARY, eos=end)
            told = generate(objective, module, source.tolist(), greedy_token, MOST)
            assert told == written_by(theirs, source[None], end, decoder_start_token_id=start)[1:]
            different |= set(told)
    assert len(different) > 4


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
@torch.no_grad()
def test_after_a_prefix_each_token_is_the_likeliest_of_the_finished_row(family: str) -> None:
    """Oracle: one pass over the finished row, in which a token sees the prefix and what stands before it."""
    module, objective = lively(family, {}, PrefixLM())
    prompt = some_ids(1, PROMPT)[0].tolist()
    told = generate(objective, module, prompt, greedy_token, MOST)
    [hidden] = module.backbone.encode([input_view([*prompt, *told], "prefix", PROMPT)])
    logits = objective.logits(hidden[0, PROMPT - 1 : -1], module.backbone.embedding)
    assert logits.argmax(1).tolist() == told
    [plain] = module.backbone.encode([input_view([*prompt, *told], "causal")])
    assert (plain[0, PROMPT - 1] - hidden[0, PROMPT - 1]).abs().max() > 1e-3


@torch.no_grad()
def test_a_row_longer_than_the_window_forgets_its_first_tokens() -> None:
    """Oracle: a row that never had them."""
    module, objective = lively("llama", {}, CausalLM())
    ids = some_ids(1, WINDOW + 5)[0].tolist()
    long, short = (generate(objective, module, read, greedy_token, MOST) for read in (ids, ids[5:]))
    assert long == short and len(long) > 1
