"""What is cut from the text for an objective to be shown on, and the loss and metrics on it."""

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lm_objectives import show
from lm_objectives.corruptions.causal_lm import NextToken
from lm_objectives.corruptions.masked_lm import TokenMasking
from lm_objectives.corruptions.span_denoising import SpanCorruption
from lm_objectives.corruptions.text_denoising import TextInfilling
from lm_objectives.demo.context import DemoContext, make_context, sample_paragraphs, tokenize
from lm_objectives.demo.generate import Sampling, input_view
from lm_objectives.errors import InputError
from lm_objectives.objectives import LossOutput, Objective
from lm_objectives.objectives.base import baseline_metrics
from lm_objectives.training.run import load_run
from lm_objectives.views import Rows, View, Vocabulary


def ids_of(rows: Rows) -> list[int]:
    """The tokens of one row, without padding."""
    return rows.input_ids[0, : int(rows.lengths[0])].tolist()


def test_the_excerpt_ends_with_a_sentence(context: DemoContext) -> None:
    rows = context.excerpt(NextToken())
    assert rows.input_ids.shape[1] <= context.module.seq_len
    assert context.decode(ids_of(rows)).endswith(".")


@pytest.mark.parametrize(("corruption", "first"), [(TextInfilling(), 0), (SpanCorruption(), 1)])
def test_a_corruption_reads_the_same_excerpt_with_what_it_asks_for(
    corruption: Any, first: int, context: DemoContext
) -> None:
    """Oracle: the plain excerpt, which begins with bos; T5's rows hold none."""
    plain, rows = ids_of(context.excerpt(NextToken())), context.excerpt(corruption)
    assert ids_of(rows) == plain[first:] == context.text.tokens[first : len(plain)].tolist()
    assert not corruption.needs_sentence_starts or (rows.sentence_starts is not None and rows.sentence_starts.sum() > 1)


def test_a_sentence_longer_than_the_window_is_cut(context: DemoContext) -> None:
    long = tokenize(["dog " * 60], context.tokenizer, context.vocabulary)
    rows = replace(context, text=long).excerpt(TextInfilling())
    assert ids_of(rows) == long.tokens[: context.module.seq_len].tolist()


def test_a_text_without_a_row_is_one_clear_line(context: DemoContext) -> None:
    short = replace(context, text=tokenize(["dog"], context.tokenizer, context.vocabulary))
    assert len(short.text.tokens) < 5
    with pytest.raises(InputError, match=r"^expected a text with a row for SentenceOrderPairs, found none in it: give"):
        list(short.measure(context.module.objectives["order"]))


def test_the_excerpt_is_framed_as_rows_are(context: DemoContext) -> None:
    """Oracle: the plain excerpt, which begins a document, followed by eos."""
    plain, framed = (ids_of(context.excerpt(TokenMasking(frame=frame))) for frame in ("none", "bos-eos"))
    assert framed == [*plain, context.vocabulary.eos]


def test_a_given_text_is_continued_whole_and_another_from_its_first_sentence(
    context: DemoContext, tiny_run: Path
) -> None:
    assert context.prompt == context.text.tokens[:-1].tolist() and context.origin == "your text"
    other = make_context(load_run(str(tiny_run)), None, Sampling())
    assert other.prompt == other.text.tokens[: other.text.sentences[0, 1]].tolist()
    assert other.origin == "a held-out paragraph"


def test_without_the_runs_tokens_the_paragraph_is_a_built_in_one(tiny_run: Path, tmp_path: Path) -> None:
    checkpoint: Any = torch.load(tiny_run, weights_only=True)
    checkpoint["lm_objectives"]["cache"] = str(tmp_path / "gone")
    torch.save(checkpoint, tmp_path / "a.ckpt")
    made = make_context(load_run(str(tmp_path / "a.ckpt")), None, Sampling())
    assert made.origin == "a built-in paragraph"
    assert made.decode(made.text.tokens[1:20].tolist()).startswith(" The river")


def test_words_are_known_to_begin(context: DemoContext) -> None:
    assert context.vocabulary == context.module.vocabulary
    assert context.vocabulary.starts_word is not None
    the, letter = (context.tokenizer.convert_tokens_to_ids(token) for token in ("Ġthe", "a"))
    assert context.vocabulary.starts_word[the] and not context.vocabulary.starts_word[letter]


class EvenToken(Objective):
    """Whether the next token has an even id: an objective of a user's own."""

    loss_weights = {"loss": 2.0}  # noqa: RUF012

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.corruption = NextToken()

    def setup(self, backbone: Any, vocabulary: Vocabulary) -> None:
        del vocabulary
        self.head = nn.Linear(backbone.dim, 2)

    def initial_loss(self) -> float:
        return 2 * math.log(2)

    def compute_loss(self, hidden: Tensor, view: View, embedding: Tensor) -> LossOutput:
        del embedding
        logits = self.head(hidden.flatten(0, 1)[view.label_positions])
        return LossOutput({"loss": F.cross_entropy(logits, view.targets % 2, reduction="sum")})


@torch.no_grad()
def test_an_objective_without_lines_of_its_own_shows_its_loss(context: DemoContext) -> None:
    """Oracle: twice the mean of cross-entropies, on each of the text's windows read by a loop."""
    objective = EvenToken()
    objective.setup(context.module.backbone, context.vocabulary)
    ids, nats = torch.from_numpy(context.text.tokens.astype(int)), []
    for start in range(0, len(ids) - 1, context.module.seq_len):
        part = ids[None, start : start + context.module.seq_len]
        [hidden] = context.module.backbone.encode([input_view(part[0].tolist(), "causal")])
        nats += F.cross_entropy(objective.head(hidden[0, :-1]), part[0, 1:] % 2, reduction="none").tolist()
    assert list(show(objective.eval(), context)) == [f"  loss  {2 * sum(nats) / len(nats):.3f} nats"]


@torch.no_grad()
def test_metrics_and_parts_are_shown_as_held_out_rows_have_them(context: DemoContext) -> None:
    """Oracle: the perplexity is exp of the loss; ELECTRA's loss is the sum of its parts by their factors."""
    values = {}
    for name in ("masked", "replaced"):
        objective: Any = context.module.objectives[name]
        lines = [line.split() for line in context.measure(objective)]
        values[name] = {line[0]: float(line[1]) for line in lines}
        assert {"loss", *objective.loss_weights, *objective.metrics(), *baseline_metrics(objective)} == set(
            values[name]
        )
        assert {line[0] for line in lines if line[-1] == "nats"} == {"loss", *objective.loss_weights}
    masked, replaced = values["masked"], values["replaced"]
    assert math.exp(masked["loss"]) == pytest.approx(masked["perplexity"], rel=2e-3)
    total = replaced["generator"] + 50 * replaced["discriminator"]
    assert replaced["loss"] == pytest.approx(total, abs=50 * 6e-4)
    assert masked["uniform"] == pytest.approx(math.log(context.vocabulary.size), abs=6e-4)


def test_held_out_paragraphs_are_held_out_fit_and_are_of_two_documents(tiny_run: Path) -> None:
    run = load_run(str(tiny_run))
    assert run.cache is not None
    texts = np.load(run.cache / "validation" / "tokens.npy")
    starts = np.load(run.cache / "validation" / "documents.npy").tolist()
    documents = [run.tokenizer.decode(texts[start:stop]) for start, stop in pairwise(starts)]
    chosen = sample_paragraphs(run.cache, run.tokenizer, 32, seed=3)
    assert len(chosen) == min(2, len(documents))
    homes = [[number for number, text in enumerate(documents) if paragraph in text] for paragraph in chosen]
    assert all(homes) and len({home[0] for home in homes}) == len(chosen)
    assert all(len(run.tokenizer(paragraph)["input_ids"]) <= 29 for paragraph in chosen)
    assert sample_paragraphs(run.cache, run.tokenizer, 8, seed=3) == ()
    assert sample_paragraphs(None, run.tokenizer, 32, seed=3) == ()


def test_a_paragraph_longer_than_the_window_is_cut_after_a_sentence(tiny_run: Path, tmp_path: Path) -> None:
    """Oracle: three sentences of 5 tokens in a window of 3 + 17."""
    run = load_run(str(tiny_run))
    (tmp_path / "validation").mkdir()
    starts = np.arange(20) * 5 + 1
    arrays = {"tokens": np.arange(102) + 10, "sentences": np.stack([starts, starts + 5], axis=1)}
    arrays |= {"paragraphs": np.array([0, 20]), "documents": np.array([0, 102]), "corpora": np.array([0, 102])}
    for name, array in arrays.items():
        np.save(tmp_path / "validation" / f"{name}.npy", array)
    assert sample_paragraphs(tmp_path, run.tokenizer, 20, seed=0) == (run.tokenizer.decode(range(11, 26)),)
    assert sample_paragraphs(tmp_path, run.tokenizer, 17, seed=0) == ()


def test_texts_are_tokenized_as_documents(tiny_run: Path) -> None:
    run = load_run(str(tiny_run))
    vocabulary = run.module.vocabulary
    text = tokenize(["It rained. We stayed in.", "Bread."], run.tokenizer, vocabulary)
    assert len(text.documents) == 3 and len(text.sentences) == 3
    assert [int(text.tokens[at]) for at in text.documents[:-1]] == [vocabulary.bos] * 2
    assert [int(text.tokens[at - 1]) for at in text.documents[1:]] == [vocabulary.eos] * 2
