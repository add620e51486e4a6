"""Rows with tokens taken out and others filled in, against a loop."""

import numpy as np

from lm_objectives.corruptions.editing import insert_tokens


def test_literal_example() -> None:
    a, b, c, d, x, y, pad = range(1, 8)
    stays = np.array([[True, False, False, True]])
    made, lengths = insert_tokens(
        np.array([[a, b, c, d]]), stays, np.zeros(2, int), np.array([1, 4]), np.array([x, y]), 6, pad
    )
    assert made.tolist() == [[a, x, d, y, pad, pad]]
    assert lengths.tolist() == [4]


def test_is_what_a_loop_makes() -> None:
    """Oracle: lists that grow token by token."""
    generator = np.random.default_rng(0)
    ids, stays = generator.integers(10, 99, (50, 20)), generator.random((50, 20)) < 0.6
    fill_at = generator.integers(0, 3, (50, 21))
    row, column = np.divmod(np.repeat(np.arange(fill_at.size), fill_at.ravel()), 21)
    fillers = generator.integers(100, 199, fill_at.sum())
    made, lengths = insert_tokens(ids, stays, row, column, fillers, 80, 0)
    following = iter(fillers.tolist())
    for row in range(50):
        oracle = []
        for place in range(21):
            oracle += [next(following) for _ in range(fill_at[row, place])]
            if place < 20 and stays[row, place]:
                oracle.append(int(ids[row, place]))
        assert made[row].tolist() == oracle + [0] * (80 - len(oracle))
        assert lengths[row] == len(oracle)
