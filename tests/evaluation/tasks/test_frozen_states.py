"""Frozen states against those that transformers gives of one text at a time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from utils.evaluated_models import SEQ_LEN, evaluated, session_of

from lm_objectives.evaluation.model import EvaluatedModel
from lm_objectives.evaluation.tasks.frozen_states import (
    attentions_of,
    frame_texts,
    mean_states,
    prefix_for,
    read_layers,
)
from lm_objectives.objectives import CausalLM, MaskedLM, Objective, SpanDenoising
from lm_objectives.views import Attention

TEXTS = [("The dog runs.", None), ("My cat sits away the sea one hill home.", None), ("One bird.", None)]


def states(model: EvaluatedModel, attention: Attention) -> dict[int, np.ndarray]:
    texts = frame_texts(model, TEXTS, prefix_for(model, attention))
    return mean_states(model.module.backbone, texts, attention, session_of(model), "test")


@pytest.mark.parametrize(
    ("family", "depth", "objective", "attention", "middle"),
    [
        ("llama", 3, CausalLM(), "causal", 2),
        ("bert", 4, MaskedLM(), "bidirectional", 2),
        ("albert", 3, MaskedLM(), "bidirectional", 2),
        ("t5", 2, SpanDenoising(), "bidirectional", 1),
    ],
)
def test_states_are_those_of_output_hidden_states(
    sentences: Path, family: str, depth: int, objective: Objective, attention: Attention, middle: int
) -> None:
    """Oracle: `hidden_states` of the transformers model, each text alone, averaged over the text's own tokens."""
    depths = {"num_layers": depth} if family == "t5" else {"num_hidden_layers": depth}
    model = evaluated(sentences, family, {"one": objective}, **depths)
    found = states(model, attention)
    assert list(found) == [middle, depth] == read_layers(model.module.backbone.config.num_hidden_layers)
    whole: Any = model.module.backbone.model
    before = 0 if family == "t5" else 1
    for row, (text, _) in enumerate(TEXTS):
        own = model.tokenizer.encode(text, add_special_tokens=False)
        ids = [model.vocabulary.bos] * before + own + [model.vocabulary.eos]
        reader = whole.get_encoder() if family == "t5" else whole
        with torch.no_grad():
            hidden = reader(torch.tensor([ids]), output_hidden_states=True).hidden_states
        for layer, means in found.items():
            expected = hidden[layer][0, before : before + len(own)].mean(0)
            np.testing.assert_allclose(means[row], expected, atol=2e-6)


def test_a_decoder_reads_both_ways_and_an_encoder_one(llama: EvaluatedModel, bert: EvaluatedModel) -> None:
    """Oracle: the first token's state sees what follows in one reading alone."""
    assert attentions_of(bert.module.backbone.config) == (["bidirectional"], None)
    assert attentions_of(llama.module.backbone.config) == (["causal", "bidirectional"], None)
    ends = [("The dog", None), ("The sea", None)]
    for attention, same in (("causal", True), ("bidirectional", False)):
        texts = frame_texts(llama, ends, prefix_for(llama, attention))
        only_first = [np.where(np.arange(len(own)) == 1, own, 0) for own in texts.own]
        texts.own[:] = only_first
        found = mean_states(llama.module.backbone, texts, attention, session_of(llama), "test")[2]
        assert np.allclose(found[0], found[1], atol=1e-6) == same


def test_states_do_not_depend_on_the_batch(llama: EvaluatedModel) -> None:
    """Oracle: the same texts, a row a batch."""
    texts = frame_texts(llama, TEXTS, prefix_for(llama, "bidirectional"))
    session = session_of(llama)
    alone = session.__class__(**{**vars(session), "batch_tokens": 1})
    for one, many in zip(
        mean_states(llama.module.backbone, texts, "bidirectional", alone, "test").values(),
        mean_states(llama.module.backbone, texts, "bidirectional", session, "test").values(),
        strict=True,
    ):
        np.testing.assert_allclose(one, many, atol=1e-6)


def test_pairs_are_framed_as_segment_pairs_are(llama: EvaluatedModel) -> None:
    """Oracle: the tokenizer's own ids, written out."""
    a, b = (llama.tokenizer.encode(text, add_special_tokens=False) for text in ("The dog.", "My cat runs."))
    bos, eos = llama.vocabulary.bos, llama.vocabulary.eos
    texts = frame_texts(llama, [("The dog.", "My cat runs."), ("The dog.", None)], (bos,))
    assert texts.ids[0].tolist() == [bos, *a, eos, *b, eos]
    assert texts.segments[0].tolist() == [0] * (len(a) + 2) + [1] * (len(b) + 1)
    assert texts.own[0].tolist() == [0, *[1] * len(a), 0, *[1] * len(b), 0]
    assert texts.ids[1].tolist() == [bos, *a, eos]
    view = texts.view(np.array([1, 0]), "bidirectional")
    assert view.token_type_ids is not None and view.token_type_ids[0].tolist() == [0] * len(texts.ids[0])


def test_the_longer_text_of_a_pair_loses_its_end(llama: EvaluatedModel) -> None:
    """Oracle: the room that three special tokens leave, halved or what the shorter one leaves."""
    long, short = "dog " * 60, "cat"
    kept = frame_texts(llama, [(long, long), (long, short), (short, long), (long, None)], (llama.vocabulary.bos,))
    assert kept.lengths.tolist() == [SEQ_LEN] * 4 and kept.truncated.all()
    few = len(llama.tokenizer.encode(short, add_special_tokens=False))
    rest = SEQ_LEN - 3
    firsts = [int((own * (1 - part)).sum()) for own, part in zip(kept.own, kept.segments, strict=True)]
    assert firsts == [rest // 2, rest - few, few, SEQ_LEN - 2]
