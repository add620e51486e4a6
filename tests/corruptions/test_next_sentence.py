"""Next-sentence pairs: from one passage or with another document, and alike but for the words."""

import pickle

import numpy as np
import pytest
from utils.corruption_cases import BOS, EOS, PAD, VOCABULARY, ToyText, keys, toy_text

from lm_objectives.corruptions import next_sentence
from lm_objectives.corruptions.next_sentence import NextSentencePairs, reachable
from lm_objectives.corruptions.random import random_bits
from lm_objectives.views import Rows

GENERATOR = np.random.default_rng(0)
TEXT = toy_text(
    [
        [GENERATOR.integers(1, 14, sentences).tolist() for sentences in GENERATOR.integers(1, 8, paragraphs)]
        for paragraphs in GENERATOR.integers(1, 12, 60)
    ]
)
WINDOW = 27  # 24 tokens for both segments
PAIRS = NextSentencePairs()


def read(text: ToyText, windows: np.ndarray, window: int = WINDOW, first: int = 0) -> Rows:
    return PAIRS.read_rows(text, windows, keys(len(windows), first), window, VOCABULARY)


def segments(rows: Rows, row: int) -> tuple[list[int], list[int]]:
    assert rows.token_type_ids is not None
    ids, second = rows.input_ids[row, : rows.lengths[row]], rows.token_type_ids[row, : rows.lengths[row]].astype(bool)
    head, tail = ids[~second], ids[second]
    assert (head[0], head[-1], tail[-1]) == (BOS, EOS, EOS)
    return head[1:-1].tolist(), tail[:-1].tolist()


def test_literal_example() -> None:
    text = toy_text([[[2, 3]], [[4, 3]]])
    windows = PAIRS.windows(text, 11, True)
    assert windows.tolist() == [[1, 6], [8, 15]]
    rows = read(text, np.repeat(windows[:1], 40, axis=0), 11)
    view = PAIRS.corrupt(rows, VOCABULARY)
    rained, stayed, nobody = [1001, 1002], [1003, 1004, 1005], [1012, 1013, 1014]
    found = {(tuple(row), int(label)) for row, label in zip(view.input_ids.tolist(), view.targets, strict=True)}
    assert found == {
        ((BOS, *rained, EOS, *stayed, EOS, PAD, PAD, PAD), 0),
        ((BOS, *rained, EOS, *nobody, EOS, PAD, PAD, PAD), 1),
    }
    assert view.label_positions.tolist() == [11 * row for row in range(40)]
    assert (view.attention, view.counts, view.padded) == ("bidirectional", {"loss": 40}, True)
    assert view.token_type_ids is not None and view.token_type_ids[0].tolist()[:7] == [0] * 4 + [1] * 3


def test_passages_are_filled_greedily_and_no_sentence_is_there_twice() -> None:
    """Oracle: a loop over the sentences of each document; of more than 12 tokens a sentence is too long."""
    oracle = []
    for start, stop in zip(TEXT.documents[:-1], TEXT.documents[1:], strict=True):
        own = [(a, b) for a, b in TEXT.sentences.tolist() if start <= a < stop]
        at = 0
        while at < len(own):
            end = at
            while end < len(own) and own[end][1] - own[at][0] <= 24 and own[end][1] - own[end][0] <= 12:
                end += 1
            if end - at > 1:
                oracle.append([own[at][0], own[end - 1][1]])
            at = end if end - at > 1 else at + 1
    assert PAIRS.windows(TEXT, WINDOW, True).tolist() == oracle
    assert len(oracle) > 50


def test_segments_are_whole_sentences_and_a_positive_is_its_passage() -> None:
    """Oracle: the sentences' bounds; a negative's second one begins no document and lies in a passage of another."""
    windows = PAIRS.windows(TEXT, WINDOW, True)
    rows = read(TEXT, np.tile(windows, (20, 1)))
    assert rows.labels is not None
    starts, stops = (set(side) for side in TEXT.sentences.T.tolist())
    first = {TEXT.sentences[TEXT.sentences[:, 0] >= start][0, 0] for start in TEXT.documents[:-1]}
    for row, (start, stop) in enumerate(np.tile(windows, (20, 1)).tolist()):
        head, tail = segments(rows, row)
        assert TEXT.tokens[start : start + len(head)].tolist() == head and start + len(head) in stops
        at = tail[0] - 1000  # a token is its place
        assert at in starts and at + len(tail) in stops and tail == TEXT.tokens[at : at + len(tail)].tolist()
        if rows.labels[row]:
            assert np.searchsorted(TEXT.documents, [at], "right") != np.searchsorted(TEXT.documents, [start], "right")
            assert at not in first and any(a < at and at + len(tail) == b for a, b in windows.tolist())
        else:
            assert at + len(tail) == stop


def test_negatives_come_from_each_other_document_alike() -> None:
    """Oracle: χ² over the documents that have passages, of 40,000 rows of one passage, 3.3 σ above its mean."""
    windows = PAIRS.windows(TEXT, WINDOW, True)
    document = np.searchsorted(TEXT.documents, windows[:, 0], side="right")
    rows = read(TEXT, np.repeat(windows[[20]], 40_000, axis=0))
    assert rows.labels is not None and rows.token_type_ids is not None
    negative = rows.labels == 1
    assert negative.mean() == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / 40_000))
    second = rows.input_ids[np.arange(40_000), np.argmax(rows.token_type_ids, axis=1)] - 1000
    drawn = np.searchsorted(TEXT.documents, second[negative], side="right")
    others = np.setdiff1d(document, document[20])
    counts = np.bincount(drawn, minlength=document.max() + 1)
    assert counts.sum() == counts[others].sum()
    mean, freedom = counts[others].mean(), len(others) - 1
    assert ((counts[others] - mean) ** 2 / mean).sum() < freedom + 3.3 * np.sqrt(2 * freedom)


def test_lengths_are_alike_row_by_row_where_documents_are_long() -> None:
    """Oracle: the same keys with the coin turned over; of 200 sentences a document some make up any length."""
    generator = np.random.default_rng(1)
    text = toy_text([[generator.integers(1, 12, 200).tolist()] for _ in range(8)])
    windows = PAIRS.windows(text, 43, True)
    lengths = []
    for coin in (0, 1):
        with pytest.MonkeyPatch.context() as patch:
            turned = lambda bits, purpose, *rest: random_bits(bits, purpose, *rest) ^ np.uint64(coin * (purpose == 0))  # noqa: B023, E731
            patch.setattr(next_sentence, "random_bits", turned)
            rows = read(text, windows, 43)
        assert rows.token_type_ids is not None and rows.labels is not None
        lengths.append(np.stack([rows.lengths, rows.token_type_ids.sum(axis=1), rows.labels], axis=1))
    assert (lengths[0][:, 2] != lengths[1][:, 2]).all()
    assert (lengths[0][:, :2] == lengths[1][:, :2]).all(axis=1).mean() > 0.9


def test_a_row_is_the_same_alone() -> None:
    windows = PAIRS.windows(TEXT, WINDOW, True)
    whole = read(TEXT, windows)
    for row in range(0, len(windows), 3):
        assert np.array_equal(whole.input_ids[row], read(TEXT, windows[[row]], first=row).input_ids[0])


def test_a_micro_batch_costs_no_search_through_the_whole_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: how many numbers are searched for, all passages once and then one for each row."""
    windows, searched, search = PAIRS.windows(TEXT, WINDOW, True), [], np.searchsorted

    def counting(places: np.ndarray, wanted: np.ndarray, side: str = "left") -> np.ndarray:
        searched.append(np.size(wanted))
        return search(places, wanted, side=side)  # type: ignore[call-overload]

    monkeypatch.setattr(np, "searchsorted", counting)
    read(TEXT, windows[:3])
    assert searched and max(searched) == 3


def test_places_visited() -> None:
    """Oracle: a loop."""
    after = np.arange(1000) + np.random.default_rng(0).integers(1, 9, 1000)
    after = np.minimum(after, 1000)
    at, oracle = 0, []
    while at < 1000:
        oracle.append(at)
        at = after[at]
    assert np.flatnonzero(reachable(after)).tolist() == oracle


def test_one_document_is_one_clear_line() -> None:
    with pytest.raises(
        ValueError, match=r"^expected at least 2 documents with room for next-sentence pairs, found 1: "
    ):
        PAIRS.windows(toy_text([[[2, 2]], [[2]]]), 10, True)
    assert PAIRS.windows(toy_text([[[2]], [[2]]]), 10, True).shape == (0, 2)


def test_is_plain_data() -> None:
    assert pickle.loads(pickle.dumps(PAIRS)) == PAIRS == PAIRS.for_validation()
