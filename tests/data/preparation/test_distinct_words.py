"""Oracle: the set of all different words."""

import random

import pytest

from lm_objectives.data.preparation.distinct_words import DistinctWords


@pytest.mark.parametrize(("words", "tolerance"), [(10_000, 0.0), (150_000, 0.04)])
def test_estimate(words: int, tolerance: float) -> None:
    draw = random.Random(0)
    made = ["".join(draw.choices("abcdefghij", k=draw.randint(6, 12))) for _ in range(words)]
    found = DistinctWords()
    for at in range(0, 2 * words, 5000):
        found.add(" ".join((made + made)[at : at + 5000]))  # each twice
    right = sum(len(word) + 8 for word in set(made))
    assert found.size() == pytest.approx(right, rel=tolerance)
    assert len(found._sizes) <= 2**14


def test_pieces_do_not_count_a_word_again() -> None:
    whole, pieces = DistinctWords(), DistinctWords()
    text = "Ein Wort, zwei Wörter: 12 好的 好的 __init__"
    whole.add(text)
    for _ in range(3):
        pieces.add(text)
    different = ["Ein", "Wort", ",", "zwei", "Wörter", ":", "12", "好的", "__", "init"]
    assert whole.size() == pieces.size() == sum(len(word.encode()) + 8 for word in different)
