"""Rows with special tokens around them: bos before a text that goes on, one eos after it, the text as it is."""

from typing import Any

import numpy as np
import pytest
from utils.corruption_cases import BOS, EOS, PAD, VOCABULARY, keys, toy_text

from lm_objectives.corruptions.base import Corruption
from lm_objectives.corruptions.causal_lm import NextToken
from lm_objectives.corruptions.masked_lm import TokenMasking
from lm_objectives.corruptions.replaced_token import TokenReplacement
from lm_objectives.corruptions.text_denoising import TextInfilling
from lm_objectives.corruptions.windows import Frame, frame_length

WINDOW = 16
generator = np.random.default_rng(0)
TEXT = toy_text([[generator.integers(1, 9, 4).tolist() for _ in range(3)] for _ in range(60)])
INNER = TEXT.tokens >= 1000
TEXT.tokens[INNER] = 4 + TEXT.tokens[INNER] % 90
FRAMED: list[Corruption] = [
    TokenMasking(frame="bos"),
    TokenMasking(frame="bos-eos"),
    TokenReplacement(frame="bos-eos"),
    TextInfilling(frame="bos-eos"),
    NextToken("bos"),
]
each = pytest.mark.parametrize("corruption", FRAMED, ids=lambda c: f"{type(c).__name__}-{c.frame}")
both = pytest.mark.parametrize("packing", [True, False])


def by_hand(start: int, stop: int, frame: Frame) -> tuple[list[int], list[int]]:
    """A row and the positions of its tokens, token by token."""
    ids = TEXT.tokens[start:stop].tolist()
    ids = ids if start in TEXT.documents else [BOS, *ids]
    if frame == "bos-eos" and stop not in TEXT.documents:
        ids.append(EOS)
    positions: list[int] = []
    for place, token in enumerate(ids):
        positions.append(0 if place == 0 or token == BOS else positions[-1] + 1)
    return ids, positions


@each
@both
def test_rows_are_those_made_by_hand(corruption: Corruption, packing: bool) -> None:
    windows = corruption.windows(TEXT, WINDOW, packing)
    chosen = windows[np.arange(len(windows))]
    rows = corruption.read_rows(TEXT, chosen, keys(len(chosen)), WINDOW, VOCABULARY)
    assert rows.input_ids.shape == (len(chosen), WINDOW)
    for row, (start, stop) in enumerate(chosen.tolist()):
        ids, positions = by_hand(start, stop, corruption.frame)
        length = int(rows.lengths[row])
        assert rows.input_ids[row].tolist() == ids + [PAD] * (WINDOW - len(ids)) and length == len(ids)
        if rows.position_ids is not None:
            assert rows.position_ids[row, :length].tolist() == positions
        else:
            assert max(positions) == len(positions) - 1
        if rows.sentence_starts is not None:
            first = TEXT.sentences[:, 0]
            led = int(start not in TEXT.documents)
            assert (
                np.flatnonzero(rows.sentence_starts[row]).tolist()
                == (first[(first >= start) & (first < stop)] - start + led).tolist()
            )


@each
@both
def test_every_row_begins_and_ends_as_it_says(corruption: Corruption, packing: bool) -> None:
    """As RoBERTa's, GPT-BERT's, ELECTRA's and BART's code has it."""
    windows = corruption.windows(TEXT, WINDOW, packing)
    rows = corruption.read_rows(TEXT, windows[np.arange(len(windows))], keys(len(windows)), WINDOW, VOCABULARY)
    assert (rows.input_ids[:, 0] == BOS).all()
    if corruption.frame == "bos-eos":
        assert (rows.input_ids[np.arange(len(rows.input_ids)), rows.lengths - 1] == EOS).all()


@each
@both
def test_each_token_of_the_text_is_read_once(corruption: Corruption, packing: bool) -> None:
    """But for tokens that would be alone in a row, and each document's own bos and eos where they are added again."""
    windows = corruption.windows(TEXT, WINDOW, packing)
    chosen = windows[np.arange(len(windows))]
    covered = np.concatenate([np.arange(start, stop) for start, stop in chosen])
    assert len(np.unique(covered)) == len(covered)
    assert (np.diff(chosen) <= WINDOW - frame_length(corruption.frame)).all()
    missing = np.setdiff1d(np.arange(len(TEXT.tokens)), covered)
    alone = corruption.dropped_counts(TEXT, WINDOW, packing, VOCABULARY)["last tokens that would be alone"]
    assert np.count_nonzero(TEXT.tokens[missing] > EOS) <= alone


@pytest.mark.parametrize("frame", ["bos", "bos-eos"])
def test_frames_are_never_masked(frame: Any) -> None:
    for corruption in (TokenMasking(0.9, frame=frame), TokenMasking(0.9, predict_from="previous", frame=frame)):
        windows = corruption.windows(TEXT, WINDOW, True)
        rows = corruption.read_rows(TEXT, windows[np.arange(len(windows))], keys(len(windows)), WINDOW, VOCABULARY)
        view = corruption.corrupt(rows, VOCABULARY)
        assert not np.isin(view.targets.numpy(), [BOS, EOS]).any()
        assert (view.input_ids[:, 0] == BOS).all()


def test_a_framed_infilling_is_written_whole() -> None:
    """fairseq's denoising_dataset.py: source and target both begin with `<s>` and end with `</s>`."""
    corruption = TextInfilling(frame="bos-eos")
    windows = corruption.windows(TEXT, WINDOW, False)
    rows = corruption.read_rows(TEXT, windows[np.arange(len(windows))], keys(len(windows)), WINDOW, VOCABULARY)
    view = corruption.corrupt(rows, VOCABULARY)
    assert view.decoder_labels is not None
    for ids, lengths in ((view.input_ids.numpy(), view.lengths.numpy()), (view.decoder_labels.numpy(), rows.lengths)):
        assert (ids[:, 0] == BOS).all() and (ids[np.arange(len(ids)), lengths - 1] == EOS).all()
