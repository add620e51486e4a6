"""Copies with other case, white space, punctuation or compatibility forms fold to the same, and no others."""

import random
from unicodedata import category, normalize

import pytest

from lm_objectives.data.preparation.split import fold_text

TEXTS = [
    "Ms. O\u2019Neil's co-operative “paid” $3.50 — on 1/2/2001!",
    "Straße, ΐ, ᾴ, Ǆ, ﬁn, Ĳssel, Å",
    "Он сказал: «Ёлка!»",
    "她几点来？２００１年的冬天很冷！",
    "นี่คือภาษาไทย ๆ",
    "السَّلامُ عليكم، كيف حالك؟",
    "한국어 문장입니다.",
    "क्या हाल है? ठीक।",
    "if a < b:\n\treturn x[0] + 1",
    "🙂 👩🏽‍💻 🇫🇷",
]
DIFFERENT = [
    ("The river rose.", "The river rode."),
    ("résumé", "resume"),
    ("1,234", "1,235"),
    ("a < b", "a > b"),
    ("price: $5", "price: €5"),
    ("她几点来？", "他几点来？"),
    ("パン", "バン"),
    ("นี่คือภาษา", "นั่นคือภาษา"),
    ("แม่", "แม้"),
    ("كتاب", "كتب"),
    ("कि", "की"),
    ("🙂", "🙁"),
    ("🇫🇷", "🇩🇪"),
    ("\U0001fae8", "\U0001fabf"),  # added in Unicode 15: kept by every Python
]


@pytest.mark.parametrize("text", TEXTS)
def test_copies_fold_to_the_same(text: str) -> None:
    """Property: over forms of case and of normalisation, and white space and punctuation wherever they are."""
    draw = random.Random(0)
    copies = [text.upper(), text.lower(), text.casefold(), text.swapcase()]
    copies += [normalize(form, copy) for form in ("NFC", "NFD", "NFKC", "NFKD") for copy in (text, *copies)]
    between = [*" \n\t\u00a0\u3000\u200b\u00ad…«”。、؟।", "\r\n", ", ", "", ""]
    for _ in range(20):  # never between a character and its combining marks
        copies.append("".join(c if category(c)[0] == "M" else draw.choice(between) + c for c in text))
    copies.append("".join(c for c in text if not c.isspace() and category(c)[0] != "P"))
    assert {fold_text(copy) for copy in copies} == {fold_text(text)}


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_texts_stay_different(one: str, other: str) -> None:
    assert fold_text(one) != fold_text(other)


def test_letters_marks_digits_and_symbols_are_kept() -> None:
    """Oracle: the categories themselves, of every character that folding leaves as it is."""
    for code in range(0x20, 0x1000):
        if category(chr(code))[0] in "LMNS" and normalize("NFKD", chr(code)).casefold() == chr(code):
            assert fold_text(chr(code)) == chr(code).encode(), hex(code)
    assert fold_text("\uff34he  “ﬁrst” Straße!") == b"thefirststrasse"
    assert fold_text(" \t\r\n\x00.,;:?!-\u2013—…'\"\u2018\u2019“”«»()[]{}/\\&%#@*_。、！") == b""
