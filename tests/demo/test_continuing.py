"""Continuations: what `generate` gives for the whole exported model, and prefixes that fit the window."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.demo import show_seq2seq as continuing
from lm_objectives.demo.context import DemoContext, make_context
from lm_objectives.demo.generate import Sampling, generate, input_view
from lm_objectives.export.convert import convert
from lm_objectives.objectives import CausalLM, PrefixLM
from lm_objectives.training.run import load_run
from lm_objectives.views import View


def said(lines: list[str]) -> str:
    """The lines as one, up to the note on small models."""
    return " ".join(line.strip() for line in lines if not line.startswith("  ("))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_greedy_continuations_are_those_of_the_exported_model(family: str, stage_for: Any) -> None:
    """Oracle: `generate(do_sample=False)` of the model that `export` writes."""
    made: DemoContext = stage_for(family, {"causal": CausalLM()}, "The dog ran home. My son", Sampling(6, greedy=True))
    objective: Any = made.module.objectives["causal"]
    lines = list(objective.exhibit(made))
    model: Any = convert(made.module, "causal")[""]
    ids = torch.tensor([made.prompt])
    asked = transformers.GenerationConfig(
        do_sample=False, max_new_tokens=6, eos_token_id=made.vocabulary.eos, pad_token_id=made.vocabulary.pad
    )
    written = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=asked)[0].tolist()
    assert len(written) > ids.shape[1]
    given, whole = made.decode(made.prompt[1:]), made.decode(written[1:])
    assert said(lines) == said([f"given:     {given}", f"continued: {whole[len(given) :]}"])
    assert "Text sampled from a small model is poor" in lines[-1]


@pytest.mark.parametrize("mode", [None, "[S]"])
def test_what_a_decoder_writes_behind_a_prefix_is_what_the_exported_model_writes(
    mode: str | None, stage_for: Any
) -> None:
    """Oracle: `generate(do_sample=False)` of the model that `export` writes, on the mode and the prompt."""
    objectives = {"prefix": PrefixLM(mode=mode, layout="encoder-decoder")}
    made: DemoContext = stage_for("t5", objectives, "The dog ran home. My son", Sampling(6, greedy=True))
    objective: Any = made.module.objectives["prefix"]
    model: Any = convert(made.module, "prefix")[""]
    named = dict(made.vocabulary.named_tokens)
    ids = torch.tensor([[*([named[mode]] if mode else []), *made.prompt]])
    asked = transformers.GenerationConfig(
        do_sample=False,
        max_new_tokens=6,
        eos_token_id=made.vocabulary.eos,
        pad_token_id=made.vocabulary.pad,
        decoder_start_token_id=model.config.decoder_start_token_id,
    )
    written = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=asked)[0, 1:].tolist()
    given, whole = made.decode(made.prompt[1:]), made.decode([*made.prompt[1:], *written])
    assert said(list(objective.exhibit(made))) == said([f"prefix:    {given}", f"continued: {whole[len(given) :]}"])


@pytest.mark.parametrize("mode", [None, "[S]"])
@torch.no_grad()
def test_a_prefix_is_continued_within_the_window_by_its_likeliest_tokens(
    mode: str | None, stage_for: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle: `score` of the finished row, whose accuracy is 1 behind the prefix."""
    written: list[tuple[View, list[int]]] = []

    def recorded(backbone: Backbone, read: View, *arguments: Any) -> list[int]:
        written.append((read, generate(backbone, read, *arguments)))
        return written[-1][1]

    monkeypatch.setattr(continuing, "write", recorded)
    for text in ("The dog ran home.", "The dog ran home. " * 20):
        made: DemoContext = stage_for("llama", {"prefix": PrefixLM(mode=mode)}, text, Sampling(8, greedy=True))
        objective: Any = made.module.objectives["prefix"]
        lines = list(objective.exhibit(made))
        read, told = written[-1]
        prefix = read.input_ids[0].tolist()
        front = [] if mode is None else [dict(made.vocabulary.named_tokens)[mode]]
        assert prefix[: len(front)] == front and prefix[len(front) :] == made.prompt[len(front) - len(prefix) :]
        assert len(prefix) == min(len(front) + len(made.prompt), made.seq_len - 8) and len(told) <= 8
        whole = input_view([*prefix, *told], "prefix")
        scored = torch.arange(len(prefix) - 1, len(prefix) + len(told) - 1)
        view = replace(
            whole, prefix_lengths=torch.tensor([len(prefix)]), label_positions=scored, targets=torch.tensor(told)
        )
        outcome = objective.compute_loss(made.hidden(view), view, made.backbone.embedding)
        assert outcome.metric_inputs["accuracy"][0].all()
        assert lines[0].startswith("  prefix:    ") and " continued:" in said(lines)
        assert mode is None or mode not in said(lines)


def test_the_model_forgets_what_the_window_does_not_hold(tiny_run: Path) -> None:
    """Oracle: the same end behind another beginning."""
    run, told = load_run(str(tiny_run)), []
    for beginning in ("A cat sat away. ", "My son came to the sea. "):
        text = beginning * 10 + "The dog ran home. " * 20
        made = make_context(run, text, Sampling(8, greedy=True))
        objective: Any = run.module.objectives["causal"]
        told.append(said(list(objective.exhibit(made))).split(" continued:")[1])
    assert told[0] == told[1]
