"""Documents are held out by their numbers alone, and never all or none."""

import numpy as np
import pytest

from lm_objectives.data.split import hold_out

DOCUMENTS = [f"Document {number}." for number in range(40)]


def test_share_is_rounded_and_every_document_goes_to_one_side() -> None:
    documents, training, held_out = hold_out(DOCUMENTS, 0.1, seed=0)
    assert documents == DOCUMENTS
    assert held_out.sum() == 4
    assert np.array_equal(training, ~held_out)


def test_seed_alone_decides() -> None:
    masks = [hold_out(DOCUMENTS, 0.5, seed)[2] for seed in (3, 3, 4)]
    assert np.array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[0], masks[2])
    # Pinned, so that a later version does not move a document from one side to the other.
    assert np.flatnonzero(hold_out(DOCUMENTS, 0.1, 0)[2]).tolist() == [3, 23, 37, 39]


@pytest.mark.parametrize(("share", "number"), [(0.001, 1), (0.999, 2)])
def test_neither_side_is_empty(share: float, number: int) -> None:
    assert hold_out(DOCUMENTS[:3], share, seed=0)[2].sum() == number


def test_blank_documents_go_to_neither_side() -> None:
    _, training, held_out = hold_out(["", "a", " \n", "b"], 0.5, seed=0)
    assert (training | held_out).tolist() == [False, True, False, True]


def test_single_document_is_cut_where_a_paragraph_ends() -> None:
    documents, training, held_out = hold_out(["", "A.\n\nB.\n \nC.\n\nD."], 0.25, seed=0)
    assert list(documents) == ["A.\n\nB.\n\nC.", "D."]
    assert (training.tolist(), held_out.tolist()) == ([True, False], [False, True])


def test_too_small_to_divide() -> None:
    with pytest.raises(ValueError, match=r"^expected a corpus of two documents or two paragraphs.* found 1; add text"):
        hold_out(["A. B."], 0.25, seed=0)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_share_out_of_range(share: float) -> None:
    with pytest.raises(ValueError, match=rf"^expected validation_share above 0 and below 1, found {share}; 0.05 holds"):
        hold_out(DOCUMENTS, share, seed=0)
