"""Where tokens stand in a text, and sentences among its tokens."""

from collections.abc import Sequence

import numpy as np

from lm_objectives.data.sentences import Span

_OFFSET = np.dtype(np.int64)


def token_offsets(sizes: np.ndarray, text: str) -> tuple[np.ndarray, np.ndarray]:
    """The characters where tokens start and stop, `(tokens,)` each, from their sizes in bytes.

    Where the tokens have one byte more than the text, it is the space in front of the first word. A token that holds a
    part of a character starts and stops as if it held it whole.
    """
    stops = np.cumsum(sizes)
    stops -= stops[-1:] - len(text.encode())
    starts, stops = np.maximum(stops - sizes, 0), np.maximum(stops, 1)
    if text.isascii():
        return starts, stops
    codes = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    edges = np.cumsum(np.append(0, 1 + (codes > 0x7F) + (codes > 0x7FF) + (codes > 0xFFFF)))
    return np.searchsorted(edges, starts, side="right") - 1, np.searchsorted(edges, stops, side="left")


def locate_sentences(
    starts: np.ndarray, stops: np.ndarray, paragraphs: Sequence[Sequence[Span]]
) -> tuple[np.ndarray, np.ndarray]:
    """The sentences of a text as places among its tokens.

        text        "It rained.\\n\\nWe stayed in. We"
        tokens      It| rained|.|\\n|\\n|We| stayed| in|.| We
        sentences   (0, 3)              (5, 9)          (9, 10)
        paragraphs  0                   1

    White space between sentences of a paragraph begins the second; between paragraphs it lies in none.

    Args:
        starts, stops: the characters where each token starts and stops, `(tokens,)`.
        paragraphs: the places of the sentences of each paragraph, in characters.

    Returns:
        First token of each sentence and one past its last, `(sentences, 2)`, and the number of the first sentence of
        each paragraph. A token that lies in two sentences belongs to the first; sentences without one are left out.
    """
    spans = np.array([span for paragraph in paragraphs for span in paragraph], dtype=_OFFSET).reshape(-1, 2)
    bounds = np.cumsum([0, *map(len, paragraphs)])
    begins = np.concatenate([[0], spans[:-1, 1]])[: len(spans)]  # where the sentence before stops
    begins[bounds[:-1]] = spans[bounds[:-1], 0]
    first = np.searchsorted(np.maximum.accumulate(stops), begins, side="right")
    last = np.searchsorted(np.minimum.accumulate(starts[::-1])[::-1], spans[:, 1], side="left")
    first = np.maximum(first, np.concatenate([[0], last[:-1]])[: len(first)])
    kept = first < last
    numbers = np.append(np.cumsum(kept) - kept, 0)[bounds]  # of the sentences that stay, before each paragraph
    numbers[-1] = kept.sum()
    firsts = numbers[:-1][numbers[:-1] < numbers[1:]]
    return np.stack([first, last], axis=1)[kept], firsts.astype(_OFFSET)
