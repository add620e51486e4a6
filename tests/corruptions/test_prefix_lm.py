"""The next token after a prefix: splits, both layouts, and what is scored."""

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from utils.corruption_cases import BOS, EOS, PAD, VOCABULARY, keys, random_rows, rows_of, toy_text

from lm_objectives.corruptions.base import Layout
from lm_objectives.corruptions.prefix_lm import PrefixNextToken
from lm_objectives.views import Rows

LAYOUTS: tuple[Layout, ...] = ("prefix", "encoder-decoder")
MODES = replace(VOCABULARY, named_tokens=(("[S]", 50),))


def test_literal_example() -> None:
    the, cat, sat, on, mat = range(10, 15)
    rows = rows_of([BOS, the, cat, sat, on, the, mat, EOS], window=9)
    view = PrefixNextToken(0.4).corrupt(rows, MODES)
    assert view.input_ids.tolist() == rows.input_ids.tolist()
    assert view.prefix_lengths is not None and view.prefix_lengths.tolist() == [3]
    assert view.label_positions.tolist() == [2, 3, 4, 5, 6]
    assert view.targets.tolist() == [sat, on, the, mat, EOS]
    assert (view.attention, view.counts, view.padded) == ("prefix", {"loss": 5}, True)
    view = PrefixNextToken(0.4, "[S]").corrupt(rows, MODES)
    assert view.input_ids.tolist() == [[50, BOS, the, cat, sat, on, the, mat, EOS]]
    assert (view.prefix_lengths, view.lengths, view.label_positions[0]) == (torch.tensor([4]), torch.tensor([9]), 3)


def test_literal_example_before_a_decoder() -> None:
    the, cat, sat, on, mat = range(10, 15)
    rows = rows_of([BOS, the, cat, sat, on, the, mat, EOS], [the, cat, sat], window=9)
    view = PrefixNextToken(0.4, layout="encoder-decoder").corrupt(rows, MODES)
    assert view.input_ids.tolist() == [[BOS, the, cat, PAD], [the, PAD, PAD, PAD]]
    assert view.decoder_labels is not None
    assert view.decoder_labels.tolist() == [[sat, on, the, mat, EOS], [cat, sat, PAD, PAD, PAD]]
    assert view.label_positions.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert view.targets.tolist() == [sat, on, the, mat, EOS, cat, sat]
    assert (view.attention, view.prefix_lengths, view.counts) == ("bidirectional", None, {"loss": 7})
    assert (view.lengths.tolist(), view.padded) == ([3, 1], True)


@pytest.mark.parametrize("settings", [(), (0.75,), (None, "[S]"), (0.75, "[S]")], ids=str)
def test_both_layouts_write_the_same_tokens(settings: tuple[Any, ...]) -> None:
    """Oracle: the row cut at its prefix. The decoder is as wide as the longest target of any row needs."""
    rows = random_rows(100, 24)
    one, two = (PrefixNextToken(*settings, layout=layout).corrupt(rows, MODES) for layout in LAYOUTS)
    assert one.prefix_lengths is not None and two.decoder_labels is not None and one.decoder_labels is None
    assert torch.equal(one.targets, two.targets) and torch.equal(one.prefix_lengths, two.lengths)
    width = two.decoder_labels.shape[1]
    assert (two.input_ids.shape[1], width) == ((24, 24) if settings[:1] != (0.75,) else (18, 6))
    for row, (prefix, length) in enumerate(zip(one.prefix_lengths.tolist(), one.lengths.tolist(), strict=True)):
        assert two.input_ids[row].tolist() == [*one.input_ids[row, :prefix], *[PAD] * (two.input_ids.shape[1] - prefix)]
        rest = length - prefix
        assert two.decoder_labels[row].tolist() == [*one.input_ids[row, prefix:length], *[PAD] * (width - rest)]
        assert two.label_positions[two.label_positions // width == row].tolist() == [
            row * width + place for place in range(rest)
        ]


@pytest.mark.parametrize("mode", [None, "[S]"])
def test_every_split_is_as_likely(mode: str | None) -> None:
    """Oracle: nine places between ten tokens; a count of n draws has √(np(1-p)) of spread, 4.5 of it allowed."""
    rows = rows_of(*[list(range(10, 20))] * 18_000, window=12)
    view = PrefixNextToken(mode=mode).corrupt(rows, MODES)
    assert view.prefix_lengths is not None
    found = np.bincount(view.prefix_lengths.numpy() - (mode is not None), minlength=11)
    assert found[0] == found[10] == 0
    assert np.abs(found[1:10] - 2000).max() < 4.5 * np.sqrt(2000 * 8 / 9)


@pytest.mark.parametrize("corruption", [PrefixNextToken(), PrefixNextToken(0.7), PrefixNextToken(mode="[S]")], ids=str)
def test_all_after_the_prefix_is_scored_and_nothing_else(corruption: PrefixNextToken) -> None:
    """Oracle: a loop over rows and positions."""
    rows = random_rows(100, 24)
    view = corruption.corrupt(rows, MODES)
    assert view.prefix_lengths is not None
    oracle = [
        (24 * row + at, view.input_ids[row, at + 1])
        for row in range(100)
        for at in range(int(view.prefix_lengths[row]) - 1, int(view.lengths[row]) - 1)
    ]
    assert list(zip(view.label_positions.tolist(), view.targets.tolist(), strict=True)) == oracle
    assert ((view.prefix_lengths >= 1) & (view.prefix_lengths < view.lengths)).all()
    assert not (view.targets == PAD).any() and view.counts == {"loss": len(oracle)}
    alone = corruption.corrupt(Rows(rows.keys[[7]], rows.input_ids[[7]], rows.lengths[[7]]), MODES)
    assert alone.prefix_lengths is not None and torch.equal(alone.prefix_lengths[0], view.prefix_lengths[7])


@pytest.mark.parametrize("corruption", [PrefixNextToken(), PrefixNextToken(0.5), PrefixNextToken(mode="[S]")], ids=str)
def test_short_rows_have_nothing_after_the_prefix(corruption: PrefixNextToken) -> None:
    view = corruption.corrupt(rows_of([5], [6, 7], window=4), MODES)
    assert view.targets.tolist() == [7]
    assert view.prefix_lengths is not None and (view.prefix_lengths <= view.lengths).all()


def test_a_mode_has_its_place_in_the_window() -> None:
    text = toy_text([[[20]]])
    assert PrefixNextToken().windows(text, 8, True)[np.arange(3)].tolist() == [[0, 8], [8, 16], [16, 22]]
    corruption = PrefixNextToken(mode="[S]")
    windows = corruption.windows(text, 8, True)[np.arange(3)]
    assert windows.tolist() == [[0, 7], [7, 14], [14, 21]]
    rows = corruption.read_rows(text, windows, keys(3), 8, MODES)
    assert corruption.corrupt(rows, MODES).input_ids[:, 1:].flatten().tolist() == text.tokens[:21].tolist()
    assert (corruption.special_tokens(8), PrefixNextToken().special_tokens(8)) == (("[S]",), ())


def test_prefix_is_plain_data() -> None:
    corruption = PrefixNextToken(0.3, "[S]")
    assert pickle.loads(pickle.dumps(corruption)) == corruption == corruption.for_validation()
    assert not corruption.supports_packing


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5])
def test_prefix_share_outside_is_one_clear_line(share: float) -> None:
    with pytest.raises(
        ValueError, match=rf"^expected a prefix share between 0 and 1, both excluded, found {share}: le"
    ):
        PrefixNextToken(share)
