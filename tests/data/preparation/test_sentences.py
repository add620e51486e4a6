"""Documents are divided where a reader would divide them."""

import numpy as np
import pytest
from utils.text_cases import KINDS, split_document

from lm_objectives.data.preparation.sentences import (
    check_sentences,
    find_lines,
    find_paragraphs,
    find_sentences,
    locate_sentences,
    token_offsets,
)
from lm_objectives.data.tokenizer import make_tokenizer


@pytest.mark.parametrize(
    ("language", "text", "oracle"),
    [
        ("en", "One. Two.\n\nThree.", [["One.", "Two."], ["Three."]]),
        ("en", "Dr. Smith came, e.g. on Monday. He left!", [["Dr. Smith came, e.g. on Monday.", "He left!"]]),
        ("de", "Es war am 5. Mai bzw. im Juni. Ja.", [["Es war am 5. Mai bzw. im Juni.", "Ja."]]),
        ("DE", "Es war am 5. Mai bzw. im Juni. Ja.", [["Es war am 5. Mai bzw. im Juni.", "Ja."]]),
        ("zh", "你好。我是人。好吗。\n\n再见。", [["你好。", "我是人。", "好吗。"], ["再见。"]]),
        ("zh", "他来了。2001年走了！a是谁？「好。3个。」", [["他来了。", "2001年走了！", "a是谁？", "「好。3个。」"]]),
        ("ja", "来た。2001年に行った。", [["来た。", "2001年に行った。"]]),
        ("xx", "One. Two。Three.", [["One.", "Two。", "Three."]]),
        ("en", "\n\n  One\nline. \r\n \t\r\n\n\n Two. \n\n", [["One\nline."], ["Two."]]),
        ("en", " \n\n \n", []),
        ("en", "", []),
    ],
)
def test_literal_examples(language: str, text: str, oracle: list[list[str]]) -> None:
    assert split_document(text, language) == oracle


def test_nothing_but_white_space_is_lost() -> None:
    text = 'A b. C d?  E (f. g.) h!\n\nI j: "K. L."\n\n\nM'
    sentences = [sentence for paragraph in split_document(text, "en") for sentence in paragraph]
    assert "".join("".join(sentences).split()) == "".join(text.split())


def test_places_are_of_the_text() -> None:
    text = "A.\r\n\r\nB. See\r\nd.\n \n\n \n"
    assert [text[start:stop] for start, stop in find_paragraphs(text)] == ["A.\r", "B. See\r\nd."]
    found = find_sentences(text, "en")
    assert [[text[start:stop] for start, stop in p] for p in found] == [["A."], ["B.", "See\r\nd."]]


def test_line_ends_make_no_other_sentences() -> None:
    text = "One. Two.\nA line. Dr.\nX!\n\nNew.\n \nLast"
    assert split_document(text.replace("\n", "\r\n"), "en") == split_document(text, "en")


@pytest.mark.parametrize(
    ("text", "oracle"),
    [
        ("one two\nthree. Four\n\nfive\n", [["one two", "three. Four"], ["five"]]),
        ("\r\n  one \r\n\ttwo\r\n \r\nthree", [["one", "two"], ["three"]]),
        ("a", [["a"]]),
        (" \n\n", []),
    ],
)
def test_a_sentence_a_line(text: str, oracle: list[list[str]]) -> None:
    """Oracle: `str.splitlines`, stripped."""
    places = find_sentences(text, "en", "line")
    assert [[text[start:stop] for start, stop in paragraph] for paragraph in places] == oracle
    assert [text[a:b] for a, b in find_lines(text)] == [line.strip() for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("language", ["english", "", "e", "en_US", "../en"])
def test_what_is_no_code(language: str) -> None:
    with pytest.raises(ValueError, match=r"^expected a language code such as 'en' or 'zh', found '.*': set language"):
        split_document("One.", language)


def test_what_is_no_way_to_find_sentences() -> None:
    with pytest.raises(
        ValueError, match=r"^expected data.sentences as language or line, found 'lines': line takes each"
    ):
        check_sentences("lines")


# Places of tokens, and of sentences among them.


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
