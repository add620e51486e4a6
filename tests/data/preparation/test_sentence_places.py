"""Places of tokens against those of the library, and places of sentences against a literal example."""

import numpy as np
import pytest
from utils.text_cases import KINDS

from lm_objectives.data.preparation.sentences import locate_sentences, token_offsets
from lm_objectives.data.tokenizer import make_tokenizer


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [260, 600])
def test_places_from_sizes_are_those_of_the_library(kind: str, size: int) -> None:
    """Oracle: `Encoding.offsets`."""
    tokenizer = make_tokenizer(size, KINDS.values()).backend_tokenizer
    tokenizer.encode_special_tokens = True
    encoding = tokenizer.encode(KINDS[kind], add_special_tokens=False)
    sizes = np.array([len(token) for token in encoding.tokens])
    assert np.stack(token_offsets(sizes, KINDS[kind]), axis=1).tolist() == [list(place) for place in encoding.offsets]


def test_literal_example() -> None:
    """It| rained|.|\\n|\\n|We| stayed| in|.| We, with the places of its characters."""
    starts = np.array([0, 2, 9, 10, 11, 12, 14, 21, 24, 25])
    stops = np.array([2, 9, 10, 11, 12, 14, 21, 24, 25, 28])
    sentences, paragraphs = locate_sentences(starts, stops, [[(0, 10)], [(12, 25), (26, 28)]])
    assert (sentences.tolist(), paragraphs.tolist()) == ([[0, 3], [5, 9], [9, 10]], [0, 1])


def test_token_in_two_sentences_belongs_to_the_first() -> None:
    """Tokens 0-2, 2-6, 6-8; sentences end at 3 and 5, and the one in between has no token of its own."""
    starts, stops = np.array([0, 2, 6]), np.array([2, 6, 8])
    sentences, paragraphs = locate_sentences(starts, stops, [[(0, 3)], [(3, 5), (5, 8)]])
    assert (sentences.tolist(), paragraphs.tolist()) == ([[0, 2], [2, 3]], [0, 1])
    assert locate_sentences(starts[:0], stops[:0], [])[0].shape == (0, 2)
