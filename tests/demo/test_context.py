"""The stage: what is cut from the text for an objective to be shown on."""

from pathlib import Path
from typing import Any

import torch

from lm_objectives.corruptions.causal_lm import NextToken
from lm_objectives.corruptions.masked_lm import TokenMasking
from lm_objectives.corruptions.text_denoising import TextInfilling
from lm_objectives.demo.context import DemoContext, make_context
from lm_objectives.demo.generate import Sampling
from lm_objectives.training.run import load_run


def test_the_excerpt_ends_with_a_sentence(stage: DemoContext) -> None:
    rows = stage.excerpt(NextToken())
    assert rows.input_ids.shape[1] <= stage.seq_len
    assert stage.decode(rows.input_ids[0].tolist()).endswith(".")


def test_a_corruption_reads_the_same_excerpt_with_what_it_asks_for(stage: DemoContext) -> None:
    plain = stage.excerpt(NextToken())
    for first in (0, 1):
        rows = stage.excerpt_for(TextInfilling(), first)
        length = int(rows.lengths[0])
        assert rows.input_ids[0, :length].tolist() == stage.text.tokens[first : first + length].tolist()
        assert (
            length == plain.input_ids.shape[1] - first
            and rows.sentence_starts is not None
            and rows.sentence_starts.sum() > 1
        )
    assert int(stage.excerpt_for(TextInfilling(), most=3).lengths[0]) == 3


def test_the_excerpt_is_framed_as_rows_are(stage: DemoContext) -> None:
    """Oracle: the plain excerpt, which begins a document, with eos behind."""
    plain, framed = (stage.excerpt(TokenMasking(frame=frame)).input_ids[0].tolist() for frame in ("none", "bos-eos"))
    assert framed == [*plain, stage.vocabulary.eos]


def test_a_given_text_is_continued_whole_and_another_from_its_first_sentence(
    stage: DemoContext, tiny_run: Path
) -> None:
    assert stage.prompt == stage.text.tokens[:-1].tolist() and stage.origin == "your text"
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


def test_words_are_known_to_begin(stage: DemoContext) -> None:
    assert stage.vocabulary.starts_word is not None
    the, letter = (stage.tokenizer.convert_tokens_to_ids(token) for token in ("Ġthe", "a"))
    assert stage.vocabulary.starts_word[the] and not stage.vocabulary.starts_word[letter]
