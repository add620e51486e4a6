"""Continuations: what `generate` gives for the whole exported model, and prefixes that fit the window."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from lm_objectives.checkpoint import open_run
from lm_objectives.demo.sampling import Sampling
from lm_objectives.demo.stage import Stage, set_stage
from lm_objectives.objectives import CausalLM, PrefixLM
from lm_objectives.reference import convert

torch.set_num_threads(1)


def said(lines: list[str]) -> str:
    """The lines as one, up to the note on small models."""
    return " ".join(line.strip() for line in lines if not line.startswith("  ("))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_greedy_continuations_are_those_of_the_exported_model(family: str, stage_for: Any) -> None:
    """Oracle: `generate(do_sample=False)` of the model that `export` writes."""
    made: Stage = stage_for(family, {"causal": CausalLM()}, "The dog ran home. My son", Sampling(6, greedy=True))
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
def test_a_prefix_is_shown_and_continued_within_the_window(mode: str | None, stage_for: Any) -> None:
    for text in ("The dog ran home.", "The dog ran home. " * 20):
        made: Stage = stage_for("llama", {"prefix": PrefixLM(mode=mode)}, text, Sampling(8, greedy=True))
        objective: Any = made.module.objectives["prefix"]
        lines = list(objective.exhibit(made))
        assert lines[0].startswith("  prefix:    ")
        shown = said(lines).removeprefix("prefix: ").split(" continued:")[0].strip()
        assert made.decode(made.prompt).replace("\n", " ").endswith(shown[-10:])
        assert len(made.tokenizer(shown)["input_ids"]) <= made.window - 8 - (mode is not None) + 1
        assert mode is None or mode not in shown


def test_the_model_forgets_what_the_window_does_not_hold(tiny_run: Path) -> None:
    """Oracle: the same end behind another beginning."""
    run, told = open_run(str(tiny_run)), []
    for beginning in ("A cat sat away. ", "My son came to the sea. "):
        text = beginning * 10 + "The dog ran home. " * 20
        made = set_stage(run, text, Sampling(8, greedy=True))
        objective: Any = run.module.objectives["causal"]
        told.append(said(list(objective.exhibit(made))).split(" continued:")[1])
    assert told[0] == told[1]
