"""Documents into paragraphs of sentences."""

import re
from collections.abc import Iterator

_BLANK_LINE = re.compile(r"\n\s*\n")
_AFTER_FULL_STOP = re.compile(r"(?<=[。！？])[0-9a-z]")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z0-9]+)*")


def split_document(text: str, language: str) -> list[list[str]]:
    """Sentences of each paragraph of a document; blank lines divide paragraphs.

        "One. Two.\\n\\nThree."  ->  [["One.", "Two."], ["Three."]]

    Sentences lose the white space around them, and keep what is within. Empty sentences and paragraphs are left out.

    Args:
        text: a document.
        language: code of its language as in Wikipedia's addresses ("en", "zh", "pt-br"). It chooses the abbreviations
            and full stops that `sentencex` knows; a language without rules of its own is split by those of English,
            which know the full stops of all scripts.

    Raises:
        ValueError: when `language` is not shaped like a code.
    """
    code = checked_language(language)
    paragraphs = (
        [sentence for part in _parts(code, paragraph) if (sentence := part.strip())]
        for paragraph in _BLANK_LINE.split(text.replace("\r\n", "\n"))
    )
    return [paragraph for paragraph in paragraphs if paragraph]


def _parts(code: str, paragraph: str) -> Iterator[str]:
    """What `sentencex` divides a paragraph into, put together the paragraph again.

    Where a digit or a small letter follows, `sentencex` takes a sentence to go on. Behind 。！？, which end nothing but
    sentences, it is shown another character instead, so that "他来了。2001年" is divided as well.
    """
    import sentencex

    start = 0
    for part in sentencex.segment(code, _AFTER_FULL_STOP.sub("一", paragraph)):
        yield paragraph[start : start + len(part)]
        start += len(part)


def split_paragraphs(text: str) -> list[str]:
    """The paragraphs of a document that hold anything but white space."""
    return [paragraph for paragraph in _BLANK_LINE.split(text.replace("\r\n", "\n")) if paragraph.strip()]


def checked_language(language: str) -> str:
    """The language's code in lower case; `sentencex` takes "DE" for a language that it does not know."""
    code = language.lower()
    if not _LANGUAGE.fullmatch(code):
        raise ValueError(f"expected a language code such as 'en' or 'zh', found {language!r}; set language to a code")
    return code
