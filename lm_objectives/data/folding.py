"""What is left of a text without case, white space and punctuation."""

import re
from functools import cache
from unicodedata import normalize, ucd_3_2_0


def fold_text(text: str) -> bytes:
    """The letters, marks, digits and symbols of a text, without case and compatibility forms, one after the other.

        "Ｔｈｅ  “ﬁrst” Straße!"  ->  b"thefirststrasse"

    Two texts that are a compatibility caseless match (Unicode Standard, section 3.13, definition D146), as all that
    have one form in NFKC, are folded to the same, in UTF-8. Every character is decomposed by itself and white space
    left out: pieces that are cut anywhere but before a combining mark give, one after the other, what the whole gives.
    Which characters are left out is read in Unicode 3.2, which every Python holds, and what Unicode has added since is
    kept, so that it does not depend on Python's version.
    """
    text = normalize("NFKD", normalize("NFKD", text).casefold())
    ascii_left_out, others_left_out = _left_out()
    if not text.isascii():
        text = others_left_out.sub("", text)
    return text.encode().translate(None, ascii_left_out)


@cache
def _left_out() -> tuple[bytes, re.Pattern[str]]:
    """White space, punctuation and control characters: those in ASCII, and a pattern of the others."""
    codes = [code for code in range(2**16) if _is_left_out(chr(code))]
    ascii_ones = bytes(code for code in codes if code < 128)
    return ascii_ones, re.compile(f"[{re.escape(''.join(chr(code) for code in codes if code >= 128))}]+")


def _is_left_out(character: str) -> bool:
    category = ucd_3_2_0.category(character)
    return category[0] in "ZP" or category in ("Cc", "Cf")
