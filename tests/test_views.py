"""Rows with labels: dense ones, flat positions, and where documents share a row."""

import numpy as np
import pytest
import torch
from utils import tiny

from lm_objectives import NextToken, Rows, next_token_labels, sample_flat_positions, sample_positions
from lm_objectives.views import gather_positions

IDS = np.array([[1, 5, 6, 2, 1, 7, 2], [1, 8, 9, 2, 0, 0, 0]])
ROWS = Rows(np.arange(2, dtype=np.uint64), IDS, np.array([7, 4]))


def test_labels_become_flat_positions_and_targets() -> None:
    """Oracle: by hand. The second row has 4 tokens; labels beyond are never scored."""
    labels = np.full(IDS.shape, -100)
    labels[0, [0, 3]], labels[1, [1, 5]] = [4, 9], [0, 3]
    view = ROWS.labelled(IDS + 1, labels)
    assert view.label_positions.tolist() == [0, 3, 8]
    assert view.targets.tolist() == [4, 9, 0]
    assert view.counts == {"loss": 3}
    assert (view.attention, view.padded) == ("bidirectional", True)
    assert np.array_equal(view.input_ids, IDS + 1)


def test_booleans_are_classes_and_one_label_a_row_stands_at_its_first_position() -> None:
    view = ROWS.labelled(IDS, IDS == 2)
    assert view.targets.tolist() == [0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 1]
    view = ROWS.labelled(IDS, np.array([1, 0]))
    assert (view.label_positions.tolist(), view.targets.tolist()) == ([0, 7], [1, 0])
    view = ROWS.labelled(IDS, np.array([-100, 0]))
    assert (view.label_positions.tolist(), view.counts) == ([7], {"loss": 1})


@pytest.mark.parametrize("shape", [(7,), (2, 6), (2, 7, 1)])
def test_labels_of_another_shape_are_one_clear_line(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^expected labels of shape \(2, 7\), or \(2,\) for one label a row, found"):
        ROWS.labelled(IDS, np.zeros(shape, dtype=np.int64))


def test_next_tokens_end_with_a_documents_part_and_with_the_row() -> None:
    """Oracle: by hand; the first row holds two documents."""
    packed = Rows(ROWS.keys, IDS, ROWS.lengths, position_ids=np.array([[0, 1, 2, 3, 0, 1, 2], [*range(7)]]))
    labels = next_token_labels(packed)
    assert labels.tolist() == [[5, 6, 2, -100, 7, 2, -100], [8, 9, 2, -100, -100, -100, -100]]
    view = NextToken().corrupt(packed, tiny.vocabulary())
    assert view.attention == "causal"
    assert view.label_positions.tolist() == [0, 1, 2, 4, 5, 7, 8, 9]
    assert view.targets.tolist() == [5, 6, 2, 7, 2, 8, 9, 2]


def test_sampled_positions_are_the_flat_ones_of_each_row() -> None:
    """Also of rows in which there is nothing to choose."""
    rows, vocabulary = tiny.rows(9), tiny.vocabulary()
    rows.input_ids[4] = 1
    ragged = sample_positions(rows, vocabulary, 0.4)
    assert len(ragged) == 9 and len(ragged[4]) == 0
    flat = np.concatenate([row * tiny.WINDOW + chosen for row, chosen in enumerate(ragged)])
    assert np.array_equal(flat, sample_flat_positions(rows, vocabulary, 0.4))
    alone = Rows(rows.keys[3:4], rows.input_ids[3:4], rows.lengths[3:4])
    assert np.array_equal(sample_positions(alone, vocabulary, 0.4)[0], ragged[3])


def test_at_positions_counts_rows_first() -> None:
    """Oracle: indexing by row and time."""
    hidden = torch.arange(24.0).view(2, 3, 4)
    assert torch.equal(gather_positions(hidden, torch.tensor([0, 5, 4])), hidden[[0, 1, 1], [0, 2, 1]])
