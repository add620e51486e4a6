"""Find the paragraphs and sentences of a document."""

import re
from collections.abc import Iterator, Sequence
from typing import Literal, get_args

import numpy as np

from lm_objectives.errors import expect

Place = tuple[int, int]
"""First character and one past the last."""

_BLANK_LINE = re.compile(r"\n\s*\n")

_LINE = re.compile(r"\S(?:[^\n]*[^\s])?")

_AFTER_FULL_STOP = re.compile(r"(?<=[。！？])[0-9a-z]")

_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z0-9]+)*")


Sentences = Literal["language", "line"]


def find_sentences(text: str, language: str, sentences: Sentences = "language") -> list[list[Place]]:
    """The places of the sentences of each paragraph of a document; blank lines divide paragraphs.

        "One. Two.\\n\\nThree."  ->  [[(0, 4), (5, 9)], [(11, 17)]]

    White space around a sentence lies in none. Empty sentences and paragraphs are left out. Lines may end in LF or
    CRLF; it makes no other sentences.

    Args:
        text: a document.
        language: code of its language as in Wikipedia's addresses ("en", "zh", "pt-br"). It chooses the abbreviations
            and full stops that `sentencex` knows; a language without rules of its own is split by those of English,
            which know the full stops of all scripts.
        sentences: whether they are those of the language, or lines.

    Raises:
        InputError: when `language` is not shaped like a code.
    """
    code = check_language(language)
    if sentences == "line":
        paragraphs = find_paragraphs(text)
        return [[(start + a, start + b) for a, b in find_lines(text[start:stop])] for start, stop in paragraphs]
    text = text.replace("\r\n", " \n")  # of one length, so that places stay
    return [[*_sentences(code, text[start:stop], start)] for start, stop in find_paragraphs(text)]


def find_paragraphs(text: str) -> list[Place]:
    """The places of the paragraphs of a document that hold anything but white space."""
    bounds = [0, *(place for found in _BLANK_LINE.finditer(text) for place in found.span()), len(text)]
    pairs = zip(bounds[::2], bounds[1::2], strict=True)
    return [(start, stop) for start, stop in pairs if start < stop and not text[start:stop].isspace()]


def find_lines(text: str) -> list[Place]:
    """The places of the lines of a text that hold anything but white space, without that around it."""
    return [found.span() for found in _LINE.finditer(text)]


def starts_paragraph(text: str, start: int) -> bool:
    """Whether a blank line stands in front of the character `start`, from the beginning of the text on."""
    return _BLANK_LINE.search(text, 0, start) is not None


def sentences_at(text: str, paragraphs: list[list[Place]]) -> list[list[str]]:
    """The sentences at these places, their lines ending in LF."""
    return [[text[start:stop].replace("\r\n", "\n") for start, stop in paragraph] for paragraph in paragraphs]


def _sentences(code: str, paragraph: str, offset: int) -> Iterator[Place]:
    """What `sentencex` divides a paragraph into, without the white space around it.

    Where a digit or a small letter follows, `sentencex` takes a sentence to go on. After 。！？, which end nothing but
    sentences, it is given another character instead, so that "他来了。2001年" is divided as well.
    """
    import sentencex

    for part in sentencex.segment(code, _AFTER_FULL_STOP.sub("一", paragraph)):  # together they are the paragraph
        inner = part.strip()
        if inner:
            start = offset + (part.index(inner[0]) if part[0].isspace() else 0)
            yield start, start + len(inner)
        offset += len(part)


def check_language(language: str) -> str:
    """The language's code in lower case; `sentencex` takes "DE" for a language that it does not know."""
    code = language.lower()
    mend = "set language to a code"
    expect(bool(_LANGUAGE.fullmatch(code)), "a language code such as 'en' or 'zh'", repr(language), mend)
    return code


def check_sentences(sentences: str) -> str:
    """The setting, when it is one."""
    ways = get_args(Sentences)
    expect(sentences in ways, f"data.sentences as {' or '.join(ways)}", repr(sentences), "line takes each line for one")
    return sentences


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
    starts: np.ndarray, stops: np.ndarray, paragraphs: Sequence[Sequence[Place]]
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
    places = np.array([place for paragraph in paragraphs for place in paragraph], dtype=np.int64).reshape(-1, 2)
    bounds = np.cumsum([0, *map(len, paragraphs)])
    begins = np.concatenate([[0], places[:-1, 1]])[: len(places)]  # where the sentence before stops
    begins[bounds[:-1]] = places[bounds[:-1], 0]
    first = np.searchsorted(np.maximum.accumulate(stops), begins, side="right")
    last = np.searchsorted(np.minimum.accumulate(starts[::-1])[::-1], places[:, 1], side="left")
    first = np.maximum(first, np.concatenate([[0], last[:-1]])[: len(first)])
    kept = first < last
    numbers = np.append(np.cumsum(kept) - kept, 0)[bounds]  # of the sentences that stay, before each paragraph
    numbers[-1] = kept.sum()
    firsts = numbers[:-1][numbers[:-1] < numbers[1:]]
    return np.stack([first, last], axis=1)[kept], firsts.astype(np.int64)
