"""Two segments: whole sentences, one passage, a fair coin, and nothing that tells the order but the text."""

import math
import time
from itertools import pairwise
from typing import Literal

import numpy as np
import pytest
from utils.corruption_cases import BOS, EOS, PAD, VOCABULARY, ToyText, keys, toy_text

from lm_objectives.corruptions import sentence_order
from lm_objectives.corruptions.sentence_order import SentenceOrderPairs, split_into_passages
from lm_objectives.views import Rows, Text

GENERATOR = np.random.default_rng(0)
TEXT = toy_text(
    [
        [GENERATOR.integers(1, 12, sentences).tolist() for sentences in GENERATOR.integers(1, 8, paragraphs)]
        for paragraphs in GENERATOR.integers(1, 6, 60)
    ]
)
WINDOW = 40


def read(text: ToyText, windows: np.ndarray, window: int = WINDOW, first: int = 0) -> Rows:
    return SentenceOrderPairs().read_rows(text, windows, keys(len(windows), first), window, VOCABULARY)


def segments(rows: Rows, row: int) -> tuple[list[int], list[int]]:
    """The two segments in the order of the text, without bos and eos."""
    assert rows.token_type_ids is not None and rows.labels is not None
    ids, second = rows.input_ids[row, : rows.lengths[row]], rows.token_type_ids[row, : rows.lengths[row]].astype(bool)
    head, tail = ids[~second], ids[second]
    assert (head[0], head[-1], tail[-1]) == (BOS, EOS, EOS)
    pair = head[1:-1].tolist(), tail[:-1].tolist()
    return pair[::-1] if rows.labels[row] else pair


def test_literal_example() -> None:
    text = toy_text([[[2, 3, 2]]])
    rained, stayed, nobody = [1001, 1002], [1003, 1004, 1005], [1006, 1007]
    windows = SentenceOrderPairs().windows(text, 12, False)
    assert windows.tolist() == [[1, 8]]
    rows = SentenceOrderPairs().read_rows(text, np.repeat(windows, 60, axis=0), keys(60), 12, VOCABULARY)
    view = SentenceOrderPairs().corrupt(rows, VOCABULARY)
    found = {(tuple(row), int(label)) for row, label in zip(view.input_ids.tolist(), view.targets, strict=True)}
    cuts = [(rained + stayed, nobody), (rained, stayed + nobody)]
    assert found == {
        ((BOS, *head, EOS, *tail, EOS, PAD, PAD), label)
        for first, second in cuts
        for label, (head, tail) in enumerate([(first, second), (second, first)])
    }
    assert view.label_positions.tolist() == [12 * row for row in range(60)]
    assert (view.attention, view.counts, view.padded) == ("bidirectional", {"loss": 60}, True)
    assert view.token_type_ids is not None
    in_order = view.input_ids.tolist().index([BOS, *rained, *stayed, EOS, *nobody, EOS, PAD, PAD])
    assert view.token_type_ids[in_order].tolist() == [0] * 7 + [1] * 3 + [0] * 2


def cut_in_two(first: int, last: int, most: int) -> list[list[int]]:
    """Oracle of `split_into_passages` within one stretch: a recursion over its sentences."""
    starts, stops = TEXT.sentences.T
    size = stops[last - 1] - starts[first]
    if size <= most:
        return [[starts[first], stops[last - 1]]] if last - first > 1 else []
    windows = math.ceil(size / most)
    left = windows // 2 if first % 2 == 0 else windows - windows // 2
    target = starts[first] + size * left / windows
    side = 1 if first % 2 == 0 else -1  # which of two boundaries as near is taken
    cut = min(range(first + 1, last), key=lambda at: (abs(starts[at] - target), -side * at))
    return cut_in_two(first, cut, most) + cut_in_two(cut, last, most)


@pytest.mark.parametrize("within", ["paragraph", "document"])
def test_passages_are_whole_sentences_of_one_place_and_each_is_there_once(
    within: Literal["paragraph", "document"],
) -> None:
    """Oracle: a recursion that cuts each paragraph, or document, in two until its parts fit."""
    bounds = [*TEXT.paragraphs]
    if within == "document":
        bounds = [sum(TEXT.sentences[:, 0] < start) for start in TEXT.documents]
    oracle = [passage for first, last in pairwise(bounds) for passage in cut_in_two(int(first), int(last), WINDOW - 3)]
    windows = SentenceOrderPairs(within).windows(TEXT, WINDOW, False)
    assert windows.tolist() == oracle
    assert len(oracle) > 50
    assert (windows[1:, 0] >= windows[:-1, 1]).all()


def test_every_paragraph_of_two_that_fits_is_there_once() -> None:
    text = toy_text([[[3, 4], [2], [9, 9], [5, 6]], [[3, 3], [12, 5, 3], [5, 12, 5]]])
    fits = [[1, 8], [31, 42], [44, 50]]
    late = [[63, 71]]  # after a sentence too long for the window; around one, nothing is left
    assert SentenceOrderPairs().windows(text, 14, False).tolist() == fits + late


def test_a_text_without_pairs_has_no_windows() -> None:
    assert SentenceOrderPairs().windows(toy_text([[[3], [4]], [[5]]]), WINDOW, False).shape == (0, 2)


def test_segments_start_and_end_at_sentences_and_restore_the_text() -> None:
    windows = SentenceOrderPairs().windows(TEXT, WINDOW, False)
    rows = read(TEXT, windows)
    starts, stops = set(TEXT.sentences[:, 0]), set(TEXT.sentences[:, 1])
    for row, (start, stop) in enumerate(windows):
        first, second = segments(rows, row)
        assert first and second
        assert first + second == TEXT.tokens[start:stop].tolist()
        boundary = start + len(first)
        assert start in starts and boundary in starts and boundary in stops and stop in stops
    assert (rows.lengths <= WINDOW).all()


def test_across_paragraphs_the_separator_at_the_cut_is_left_out() -> None:
    text = toy_text([[[2], [2]]])
    pairs = SentenceOrderPairs("document")
    rows = pairs.read_rows(text, pairs.windows(text, 9, False), keys(1), 9, VOCABULARY)
    assert segments(rows, 0) == ([1001, 1002], [1004, 1005])


def test_coin_is_fair_and_cuts_of_equal_sentences_are_as_likely() -> None:
    """Oracle: a share of n draws of chance p has a standard deviation of √(p(1-p)/n); four of them are allowed."""
    text = toy_text([[[1, 1, 1, 1]]])
    rows = read(text, np.repeat(SentenceOrderPairs().windows(text, WINDOW, False), 6000, axis=0))
    assert rows.labels is not None
    assert rows.labels.mean() == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / 6000))
    cuts = np.bincount([len(segments(rows, row)[0]) for row in range(6000)])[1:] / 6000
    assert cuts == pytest.approx(np.full(3, 1 / 3), abs=4 * np.sqrt(2 / 9 / 6000))


def test_lengths_before_and_after_a_cut_are_alike_where_the_text_is_not() -> None:
    """Oracle: the transposed table of lengths, of a text whose paragraphs begin with short sentences; 4.5 σ each."""
    generator = np.random.default_rng(1)
    sizes = [[*generator.integers(1, 5, 1), *generator.integers(1, 12, n)] for n in generator.integers(1, 6, 4000)]
    text = toy_text([sizes])
    windows = np.tile(SentenceOrderPairs().windows(text, WINDOW, False), (8, 1))
    rows = read(text, windows)
    assert rows.token_type_ids is not None and rows.labels is not None
    second = rows.token_type_ids.sum(axis=1) - 1
    lengths = np.stack([rows.lengths - 3 - second, second])
    left, right = np.where(rows.labels, lengths[::-1], lengths) * 4 // WINDOW
    table = np.zeros((4, 4))
    np.add.at(table, (left, right), 1)
    assert (np.abs(table - table.T) <= 4.5 * np.sqrt(table + table.T)).all()


def test_five_million_words_are_cut_in_a_moment() -> None:
    """Oracle: a bound of the time that a loop over sentences takes several times over."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(5, 60, 200_000)
    stops = np.cumsum(lengths)
    edges = np.unique(np.append(generator.integers(0, 200_000, 2_000), [0, 200_000]))
    started = time.perf_counter()
    passages = split_into_passages(stops - lengths, stops, edges, 125)
    assert time.perf_counter() - started < 0.3
    assert len(passages) > 50_000


def test_a_row_is_the_same_alone() -> None:
    windows = SentenceOrderPairs().windows(TEXT, WINDOW, False)
    whole, alone = read(TEXT, windows), read(TEXT, windows[[7]], first=7)
    assert whole.token_type_ids is not None and alone.token_type_ids is not None
    assert np.array_equal(whole.input_ids[7], alone.input_ids[0])
    assert np.array_equal(whole.token_type_ids[7], alone.token_type_ids[0])


def test_weights_are_found_from_a_bounded_number_of_passages_all_over_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory does not grow with the text: all cuts of a large one would take gigabytes."""
    surveyed: list[np.ndarray] = []

    def cut_points(text: Text, passages: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        surveyed.append(passages)
        return original(text, passages)

    original = sentence_order.cut_points
    monkeypatch.setattr(sentence_order, "_SURVEYED", 8)
    monkeypatch.setattr(sentence_order, "cut_points", cut_points)
    text = toy_text([[[5, 5]]] * 100)
    windows = SentenceOrderPairs().windows(text, WINDOW, False)
    assert len(windows) == 100
    read(text, windows[:2])
    [of_batch, of_text] = surveyed
    assert len(of_batch) == 2
    assert 4 <= len(of_text) <= 8
    assert len({*np.diff(of_text[:, 0]).tolist()}) == 1 and of_text[-1, 0] >= 2 * 80
