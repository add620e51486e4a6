"""Documents are held out by what is written in them, and never all or none."""

import random
import unicodedata
from hashlib import blake2b
from pathlib import Path
from unicodedata import category, normalize

import numpy as np
import pytest

from lm_objectives.data.preparation.documents import DocumentPiece
from lm_objectives.data.preparation.split import (
    DocumentKey,
    check_validation_share,
    fold_text,
    held_out_threshold,
    label_held_out,
    read_keys,
    write_keys,
)

DOCUMENTS = [f"Document {number}." for number in range(400)]


def held_out(documents: list[str], share: float, split_seed: int, folder: Path) -> set[str]:
    pieces = [DocumentPiece(text) for text in documents]
    assert list(write_keys(pieces, split_seed, folder / "keys")) == pieces
    below = held_out_threshold(read_keys(folder / "keys"), share)
    sides = label_held_out(pieces, (key < below for key in read_keys(folder / "keys")))
    return {piece.text for side, piece in sides if side}


def key(*pieces: str, split_seed: int = 0) -> int:
    found = DocumentKey(split_seed)
    for piece in pieces:
        found.update(piece)
    return int.from_bytes(found.digest(), "little")


def test_seed_and_folded_text_alone_decide(tmp_path: Path) -> None:
    """Oracle: the hash and the threshold, written out."""

    def oracle(number: int) -> bool:
        digest = blake2b(f"3:document{number}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little") / 2**64 < 0.25

    assert held_out(DOCUMENTS, 0.25, 3, tmp_path) == {text for n, text in enumerate(DOCUMENTS) if oracle(n)}


@pytest.mark.parametrize(
    ("text", "golden"),
    [
        ("Document 0.", 5648148742742192928),
        ("\uff24ocument\u3000⓪", 5648148742742192928),
        ("Él dijo: «¡Niño, 25 €!»", 7835256448172591953),
        ("她几点来？2001年的冬天很冷！", 10245804548923766336),
        ("สวัสดีชาวโลก", 9997179066620201989),
        ("한국어 문장", 3761565889457942260),
        ("🙂🇫🇷", 15779639719204787415),
        ("?!", 2323801534721018048),
    ],
)
def test_keys_are_the_same_on_every_machine(text: str, golden: int) -> None:
    """Pinned, so that neither a later version nor another Python moves a document from one side to the other.

    Oracle: a loop over the characters of NFKD and their categories.
    """
    assert key(text) == golden


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_share_of_the_documents(share: float, tmp_path: Path) -> None:
    """Property: a binomial count, within four standard deviations, whichever the seed."""
    documents = [f"{number} documents." for number in range(20_000)]
    for split_seed in range(3):
        found = len(held_out(documents, share, split_seed, tmp_path))
        assert abs(found - share * 20_000) < 4 * (20_000 * share * (1 - share)) ** 0.5


def test_other_documents_move_none(tmp_path: Path) -> None:
    """Property: added, removed, repeated and in another order, each is on the side where it was."""
    oracle = held_out(DOCUMENTS, 0.1, 0, tmp_path)
    for documents in (DOCUMENTS[::-1] + DOCUMENTS[:5] * 20, DOCUMENTS[::3], [*DOCUMENTS, *map(str, range(1000))]):
        found = held_out(documents, 0.1, 0, tmp_path)
        assert found & {*DOCUMENTS} == oracle & {*documents}


def test_a_larger_share_holds_out_what_a_smaller_one_does(tmp_path: Path) -> None:
    small, large = (held_out(DOCUMENTS, share, 0, tmp_path) for share in (0.1, 0.2))
    assert small < large


def test_neither_side_is_empty(tmp_path: Path) -> None:
    """Oracle: the document with the smallest key, or all but the one with the largest."""
    for split_seed in range(20):
        ranked = sorted(DOCUMENTS[:3], key=lambda text: key(text, split_seed=split_seed))
        assert held_out([*DOCUMENTS[:3], *ranked], 1e-9, split_seed, tmp_path) == {ranked[0]}
        assert held_out(DOCUMENTS[:3], 1 - 1e-9, split_seed, tmp_path) == {*ranked[:2]}


@pytest.mark.parametrize(
    "text",
    [
        "\n One, two.\r\n\r\n Three:\tcafé \u0301x “four”…",
        "她几点来？\n\n冬天很冷！",
        "?!\n …\n?!",
        "?!\n\nA.",
        "A.\n?!",
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_pieces_do_not_matter(text: str, size: int) -> None:
    """Property: cut before any character but a combining mark, and so at all white space."""
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    while at := next((n for n, piece in enumerate(pieces) if n and unicodedata.combining(piece[0])), 0):
        pieces[at - 1 : at + 1] = [pieces[at - 1] + pieces[at]]
    assert "".join(pieces) == text and len(pieces) > 1
    assert key(*pieces) == key(text)


def test_text_that_folds_to_nothing_keeps_its_own_key() -> None:
    assert len({key(text) for text in ("?", "!", "?!", "!?", "…")}) == 5
    assert key("?!\n") == key(" ?! ")


def test_equal_documents_cannot_be_divided(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^expected two different documents, .* found the same one again and again: "):
        held_out(["A b.", "a  B", "AB!"], 0.5, 0, tmp_path)


def test_documents_that_are_cut_count_for_no_threshold() -> None:
    """Oracle: the keys of the others alone; a single one of them trains, since the others are on both sides."""
    keys = np.array([5, 2**63, 7, 2**62, 9], dtype=np.uint64)
    assert held_out_threshold(keys, 1e-20) == 6
    assert held_out_threshold(keys, 1e-20, [0, 2, 4]) == 2**62 + 1
    assert held_out_threshold(keys, 0.9, [0, 2, 4]) == 2**63
    assert held_out_threshold(keys, 0.9, [0, 1, 2, 4]) == 2**62
    assert held_out_threshold(keys, 0.9, range(5)) == 0


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_share_out_of_range(share: float) -> None:
    with pytest.raises(ValueError, match=rf"^expected validation_share above 0 and below 1, found {share}: 0.05 holds"):
        check_validation_share(share)


# Copies with other case, white space, punctuation or compatibility forms fold to the same, and no others.

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
