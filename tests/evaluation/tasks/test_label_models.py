"""Scores of labels against transformers' own states and logits, one text at a time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from utils.evaluated_models import evaluated

from lm_objectives.errors import InputError
from lm_objectives.evaluation.tasks.frozen_states import frame_texts
from lm_objectives.evaluation.tasks.label_models import LinearHead, TextToText, label_reading
from lm_objectives.objectives import CausalLM, MaskedLM, Objective, PrefixLM, SpanDenoising, TextDenoising

TEXTS = [("The dog runs.", None), ("My cat sits away the sea one hill home.", None)]


@pytest.mark.parametrize(
    ("family", "objectives", "pooling", "attention"),
    [
        ("bert", {"a": MaskedLM()}, "first token", "bidirectional"),
        ("llama", {"a": CausalLM(), "b": MaskedLM()}, "last token", "causal"),
        ("llama", {"a": PrefixLM()}, "last token", "causal"),
        ("llama", {"a": MaskedLM()}, "mean", "bidirectional"),
        ("t5", {"a": MaskedLM()}, "mean", "bidirectional"),
        ("t5", {"a": MaskedLM(), "b": SpanDenoising()}, "text to text", "bidirectional"),
        ("bart", {"a": TextDenoising()}, "text to text", "bidirectional"),
    ],
)
def test_the_state_is_chosen_by_the_family(
    sentences: Path, family: str, objectives: dict[str, Objective], pooling: str, attention: str
) -> None:
    """Oracle: what the families' papers read; a head's scores of one text by transformers' own last states."""
    model = evaluated(sentences, family, objectives)
    reading = label_reading(model)
    assert (reading.pooling, reading.attention) == (pooling, attention)
    assert (reading.objective is not None) == (pooling == "text to text")
    head = reading.make(model, ["a", "b", "c"]).eval()
    texts = frame_texts(model, TEXTS, reading.prefix)
    scores = head.scores(texts, np.arange(2))
    assert scores.shape == (2, 3)
    if (isinstance(head, LinearHead) and attention == "causal") or family == "bert":
        whole: Any = model.module.backbone.model
        for row, ids in enumerate(texts.ids):
            with torch.no_grad():
                states = whole(torch.from_numpy(ids)[None]).last_hidden_state[0]
            pooled = states[0] if pooling == "first token" else states[-1]
            torch.testing.assert_close(scores[row], head.weight @ pooled + head.bias, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("family", "objective"), [("t5", SpanDenoising()), ("bart", TextDenoising())])
def test_text_to_text_scores_the_labels_names(sentences: Path, family: str, objective: Objective) -> None:
    """Oracle: ln p of the name's tokens and eos, token by token, from the transformers model's own states."""
    model = evaluated(sentences, family, {"one": objective})
    reading = label_reading(model)
    labels = ["dog", "the sea hill", "my"]
    writer = reading.make(model, labels).eval()
    assert isinstance(writer, TextToText)
    texts = frame_texts(model, TEXTS, reading.prefix)
    scores = writer.scores(texts, np.array([1, 0]))
    whole: Any = model.module.backbone.model
    for row, number in enumerate((1, 0)):
        for column, label in enumerate(labels):
            name = [*model.tokenizer.encode(label, add_special_tokens=False), model.vocabulary.eos]
            read = torch.tensor([[whole.config.decoder_start_token_id, *name[:-1]]])
            with torch.no_grad():
                states = whole(torch.from_numpy(texts.ids[number])[None], decoder_input_ids=read).last_hidden_state
                logits = model.module.objectives["one"].logits(states[0], model.module.backbone.embedding)
            expected = logits.log_softmax(1)[torch.arange(len(name)), torch.tensor(name)].sum()
            torch.testing.assert_close(scores[row, column], expected, atol=1e-5, rtol=1e-5)
    nats = writer.loss(texts, np.array([1, 0]), torch.tensor([2, 0]))
    sizes = [len(model.tokenizer.encode(labels[label], add_special_tokens=False)) + 1 for label in (2, 0)]
    torch.testing.assert_close(nats, -(scores[0, 2] + scores[1, 0]) / sum(sizes), atol=1e-5, rtol=1e-5)


def test_a_head_on_the_mean_reads_the_texts_own_tokens(sentences: Path) -> None:
    """Oracle: the states of the view itself, averaged by hand."""
    model = evaluated(sentences, "llama", {"a": MaskedLM()})
    head = label_reading(model).make(model, ["a", "b"]).eval()
    assert isinstance(head, LinearHead)
    texts = frame_texts(model, TEXTS[:1], (model.vocabulary.bos,))
    [states] = model.module.backbone.encode([texts.view(np.array([0]), "bidirectional")])
    expected = head.weight @ states[0, 1:-1].mean(0)
    torch.testing.assert_close(head.scores(texts, np.array([0]))[0], expected, atol=1e-6, rtol=1e-5)


def test_labels_that_are_one_to_the_tokenizer_are_refused(sentences: Path) -> None:
    """Oracle: the message."""
    model = evaluated(sentences, "t5", {"one": SpanDenoising()})
    with pytest.raises(InputError, match=r"expected labels that the tokenizer tells apart, found \['a', 'a'\]: rename"):
        label_reading(model).make(model, ["a", "a"])
