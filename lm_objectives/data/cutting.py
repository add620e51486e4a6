"""Cut a long text between sentences or words."""

import re
from collections.abc import Iterator

_PLACES = [
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r".*[.!?](?= [^\W\d_])",  # before the space that leads a sentence in
        r".*[。！？](?=[^\W\d_])",
        r".*[^\W_](?= [^\W\d_])",  # before the space between two words
        r".*\S(?=\s)",
    )
]

_SEARCHED = 4  # the last 1 / 4 of a piece: the best place there is taken before a later one


def cut_text(text: str, most: int) -> Iterator[str]:
    """Cut a text into pieces of at most `most` characters, each but the last at its `cut_place`."""
    start = 0
    while len(text) - start > most:
        stop = cut_place(text, start, most)
        yield text[start:stop]
        start = stop
    yield text[start:]


def cut_place(text: str, start: int, most: int) -> int:
    """Where to cut a text that goes on, at most `most` characters after `start`.

    A tokenizer that looks at words makes of both parts what it makes of the whole, since the cut lies in front of a
    single space, or after a full stop where none follows. Best of all it ends a sentence; a text that has neither in
    the last quarter is cut at any white space, or in the middle of a word.
    """
    first, last = start + most - most // _SEARCHED, start + most
    for place in _PLACES:
        found = place.match(text, first, last + 1)
        if found and start < found.end() <= last:
            return found.end()
    return last
