"""Next-sentence pairs: from the same unit or from another document, and alike but for the words."""

import pickle

import numpy as np
import pytest
from corruption_cases import BOS, EOS, PAD, VOCABULARY, ToyText, keys, toy_text

from lm_objectives.corruption.base import Rows
from lm_objectives.corruption.next_sentence import NextSentencePairs, visited

GENERATOR = np.random.default_rng(0)
TEXT = toy_text(
    [
        [GENERATOR.integers(1, 14, sentences).tolist() for sentences in GENERATOR.integers(1, 8, paragraphs)]
        for paragraphs in GENERATOR.integers(1, 12, 60)
    ]
)
WINDOW = 27  # 12 tokens for each segment
PAIRS = NextSentencePairs()


def read(text: ToyText, spans: np.ndarray, window: int = WINDOW, first: int = 0) -> Rows:
    return PAIRS.read(text, spans, keys(len(spans), first), window, VOCABULARY)


def segments(rows: Rows, row: int) -> tuple[list[int], list[int]]:
    assert rows.segments is not None
    ids, second = rows.ids[row, : rows.lengths[row]], rows.segments[row, : rows.lengths[row]].astype(bool)
    head, tail = ids[~second], ids[second]
    assert (head[0], head[-1], tail[-1]) == (BOS, EOS, EOS)
    return head[1:-1].tolist(), tail[:-1].tolist()


def test_literal_example() -> None:
    text = toy_text([[[2, 3]], [[3, 2]]])
    spans = PAIRS.spans(text, 10, True)
    assert spans.tolist() == [[1, 6], [8, 13]]
    rows = read(text, np.repeat(spans[:1], 40, axis=0), 10)
    view = PAIRS.corrupt(rows, VOCABULARY)
    rained, stayed, nobody = [1001, 1002], [1003, 1004, 1005], [1011, 1012]
    found = {(tuple(row), int(label)) for row, label in zip(view.ids.tolist(), view.targets, strict=True)}
    assert found == {
        ((BOS, *rained, EOS, *stayed, EOS, PAD, PAD), 0),
        ((BOS, *rained, EOS, *nobody, EOS, PAD, PAD, PAD), 1),
    }
    assert view.scored.tolist() == [10 * row for row in range(40)]
    assert (view.attention, view.counts, view.padded) == ("bidirectional", {"loss": 40}, True)
    assert view.segments is not None and view.segments[0].tolist()[:6] == [0] * 4 + [1] * 2


def test_units_are_two_runs_filled_greedily_and_no_sentence_is_there_twice() -> None:
    """Oracle: a loop over the sentences of each document."""
    oracle = []
    for start, stop in zip(TEXT.documents[:-1], TEXT.documents[1:], strict=True):
        own = [(a, b) for a, b in TEXT.sentences.tolist() if start <= a < stop]
        at = 0
        while at < len(own):
            ends = [at, 0]
            for run in range(2):
                begin = end = ends[run]
                while end < len(own) and own[end][1] - own[begin][0] <= 12:
                    end += 1
                ends[run] = end
                if run == 0:
                    ends[1] = end
            if ends[0] > at and ends[1] > ends[0]:
                oracle.append([own[at][0], own[ends[1] - 1][1]])
                at = ends[1]
            else:
                at = max(ends[0], at + 1)
    assert PAIRS.spans(TEXT, WINDOW, True).tolist() == oracle
    assert len(oracle) > 50


def test_negatives_are_second_runs_of_other_documents_and_each_is_as_likely() -> None:
    """Oracle: every unit of the others; a count of n draws of chance p has √(np(1-p)) of spread, 4.5 of it allowed."""
    spans = PAIRS.spans(TEXT, WINDOW, True)
    document = np.searchsorted(TEXT.documents, spans[:, 0], side="right")
    rows = read(TEXT, np.repeat(spans[[20]], 40_000, axis=0))
    assert rows.labels is not None
    assert rows.labels.mean() == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / 40_000))
    singly = read(TEXT, spans, first=7)
    seconds = {}
    for row in range(len(spans)):
        again = read(TEXT, np.repeat(spans[[row]], 12, axis=0))
        assert again.labels is not None
        seconds[tuple(segments(again, int(np.argmin(again.labels)))[1])] = row
    assert len(seconds) == len(spans) and singly.ids.shape == (len(spans), WINDOW)
    counts = np.zeros(len(spans))
    first, own = segments(rows, int(np.argmin(rows.labels)))
    assert first + own == TEXT.tokens[spans[20, 0] : spans[20, 1]].tolist()
    for row in np.flatnonzero(rows.labels):
        assert segments(rows, row)[0] == first
        counts[seconds[tuple(segments(rows, row)[1])]] += 1
    others = document != document[20]
    assert (counts[~others] == 0).all()
    total, chance = counts.sum(), 1 / others.sum()
    assert np.abs(counts[others] - total * chance).max() < 4.5 * np.sqrt(total * chance)


def test_a_row_is_the_same_alone() -> None:
    spans = PAIRS.spans(TEXT, WINDOW, True)
    whole, alone = read(TEXT, spans), read(TEXT, spans[[7]], first=7)
    assert np.array_equal(whole.ids[7], alone.ids[0])


def test_a_micro_batch_costs_no_search_through_the_whole_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: how many numbers are searched for, all units once and then none but the rows'."""
    spans, searched, search = PAIRS.spans(TEXT, WINDOW, True), [], np.searchsorted

    def counting(places: np.ndarray, wanted: np.ndarray, side: str = "left") -> np.ndarray:
        searched.append(np.size(wanted))
        return search(places, wanted, side=side)  # type: ignore[call-overload]

    monkeypatch.setattr(np, "searchsorted", counting)
    read(TEXT, spans[:3])
    assert searched and max(searched) == 3


def test_places_visited() -> None:
    """Oracle: a loop."""
    after = np.arange(1000) + np.random.default_rng(0).integers(1, 9, 1000)
    after = np.minimum(after, 1000)
    at, oracle = 0, []
    while at < 1000:
        oracle.append(at)
        at = after[at]
    assert np.flatnonzero(visited(after)).tolist() == oracle


def test_one_document_is_one_clear_line() -> None:
    with pytest.raises(
        ValueError, match=r"^expected at least 2 documents with room for next-sentence pairs, found 1: "
    ):
        PAIRS.spans(toy_text([[[2, 2]], [[2]]]), 10, True)
    assert PAIRS.spans(toy_text([[[2]], [[2]]]), 10, True).shape == (0, 2)


def test_is_plain_data() -> None:
    assert pickle.loads(pickle.dumps(PAIRS)) == PAIRS == PAIRS.validating()
