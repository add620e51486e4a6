"""Encoder-decoders exported: transformers loads them without a word, has the same logits bit for bit, and writes."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from utils.families import SEQ2SEQ, some_ids, view_of

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.export import export
from lm_objectives.objectives import Objective, PrefixLM, SpanDenoising, TextDenoising
from lm_objectives.training.run import LoadedRun, load_run

UNTIED = {"tie_word_embeddings": False}
CASES: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in SEQ2SEQ} | {
    "t5 1.1": ("t5", {"feed_forward_proj": "gated-gelu"} | UNTIED),
    "bart untied": ("bart", UNTIED),
}


def exported(name: str, objective: Objective, train: Any, folder: Path) -> tuple[LoadedRun, Any]:
    """A trained checkpoint opened, and the same from its folder by transformers, with nothing missing or left over."""
    family, changes = CASES[name]
    checkpoint = str(train(Backbone(family, SEQ2SEQ[family] | changes), {"written": objective}))
    export(checkpoint, str(folder), "written")
    model, info = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    return load_run(checkpoint), model.eval()


def our_logits(run: LoadedRun, ids: Tensor, written: Tensor) -> Tensor:
    """By our head, of a padded row among them."""
    objective: Any = run.module.objectives["written"]
    [hidden] = run.module.backbone.encode([replace(view_of(ids, "bidirectional", [12, 8]), decoder_labels=written)])
    head = run.module.backbone.embedding if objective.lm_head is None else objective.lm_head.weight
    return (objective.scale * hidden) @ head.T


@pytest.mark.parametrize("objective", [SpanDenoising, TextDenoising, partial(PrefixLM, layout="encoder-decoder")])
@pytest.mark.parametrize("name", CASES)
def test_transformers_has_the_same_logits(name: str, objective: Any, train: Any, tmp_path: Path) -> None:
    run, model = exported(name, objective(), train, tmp_path / "out")
    ids, written = some_ids(), some_ids(time=7)
    mask = (torch.arange(12) < torch.tensor([[12], [8]])).long()
    reads = torch.cat([torch.full((2, 1), model.config.decoder_start_token_id), written[:, :-1]], dim=1)
    with torch.no_grad():
        theirs = model(input_ids=ids, attention_mask=mask, decoder_input_ids=reads).logits
        assert torch.equal(our_logits(run, ids, written), theirs)
    assert type(model).__name__.startswith(type(run.module.backbone.model).__name__.removesuffix("Model"))


@pytest.mark.parametrize("name", ["t5", "bart", "m2m_100"])
def test_generate_begins_and_ends_with_the_runs_own_tokens(name: str, train: Any, tmp_path: Path) -> None:
    """Oracle: the likeliest token by our head, one after another; BART's class wants an end in the last place."""
    run, model = exported(name, TextDenoising(), train, tmp_path / "out")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    start, vocabulary, settings = model.config.decoder_start_token_id, run.module.vocabulary, model.generation_config
    forced = vocabulary.eos if name == "bart" else None
    assert start == run.module.backbone.config.decoder_start_token_id == settings.decoder_start_token_id
    assert (settings.pad_token_id, settings.eos_token_id) == (vocabulary.pad, vocabulary.eos)
    assert settings.forced_eos_token_id == forced
    inputs = tokenizer("The dog ran to the sea.", return_tensors="pt")
    ids, ours = inputs["input_ids"], [start]
    with torch.no_grad():
        theirs = model.generate(**inputs, max_new_tokens=6, do_sample=False)[0].tolist()
        while len(ours) < 7 and vocabulary.eos not in ours[1:]:
            written = torch.tensor([[*ours[1:], 0]])
            view = replace(view_of(ids, "bidirectional"), decoder_labels=written)
            [hidden] = run.module.backbone.encode([view])
            logits = run.module.objectives["written"].scale * hidden[0, -1] @ run.module.backbone.embedding.T
            ours.append(int(logits.argmax()))
    if forced is not None and len(ours) == 7:
        ours[-1] = forced
    assert theirs == ours
