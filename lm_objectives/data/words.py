"""Where words begin: in a tokenizer's vocabulary, in a text, and in what a training of a tokenizer has to remember."""

import json
import re
import unicodedata
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Kana, ideographs, Thai, Lao, Burmese and Khmer: their letters stand together without spaces between words.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\ua9e0-\ua9ff\uaa60-\uaa7f\uf900-\ufaff\uff66-\uff9d\U00020000-\U0003ffff]"
)


_UNSPACED_COST = 64


_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")


def training_cost(text: str) -> int:
    """Characters of a text as they weigh in a tokenizer's training, which remembers every different word.

    Where there are no spaces, a word is a whole phrase, and nearly every phrase is another: measured, a million Chinese
    characters took as much memory as 60 million English ones.
    """
    return len(text) + (_UNSPACED_COST - 1) * unspaced(text)


def unspaced(text: str) -> int:
    """Letters of a text that are of scripts which put no spaces between words."""
    return 0 if text.isascii() else len(text) - len(_UNSPACED.sub("", text))


def starts_word(tokenizer: "Tokenizer", special: set[int], size: int) -> np.ndarray:
    """Whether each token begins a word, `(vocab,)`.

        byte-level      "Ġthe" yes   "ing" no   "." yes    "好" yes
        Unigram, BPE    "▁the" yes   "ing" no   "." yes    "好" yes
        WordPiece       "the"  yes   "##ing" no            "好" yes

    A token begins a word when white space leads it (in WordPiece, when `##` does not), when it begins with punctuation
    or a symbol, which is a word of its own, or with a letter of a script that puts no spaces between words. What begins
    with another letter, a digit, a mark or a part of a character goes on. Special tokens begin words, and so does every
    token of a vocabulary of whole words.

    Args:
        tokenizer: the tokenizer.
        special: ids of its special tokens.
        size: rows of the embedding; an id without a token goes on.
    """
    plan = json.loads(tokenizer.to_str())
    model = plan["model"]
    kind, prefix = model.get("type"), model.get("continuing_subword_prefix") or "##"
    letters = _byte_letters() if is_byte_level(tokenizer) else None
    starts = np.zeros(size, dtype=bool)
    for token, number in tokenizer.get_vocab(with_added_tokens=True).items():
        if number in special or kind == "WordLevel":
            starts[number] = True
        elif kind == "WordPiece":
            starts[number] = not token.startswith(prefix) or _begins(token.removeprefix(prefix))
        else:
            starts[number] = _begins(_spelled(token, letters))
    return starts


def breaks_line(tokenizer: "Tokenizer", size: int) -> np.ndarray:
    """Whether each token ends in a line break or a tab, behind which a word begins without a space, `(vocab,)`."""
    letters = _byte_letters() if is_byte_level(tokenizer) else None
    breaks = np.zeros(size, dtype=bool)
    for token, number in tokenizer.get_vocab(with_added_tokens=True).items():
        breaks[number] = _spelled(token, letters).endswith(("\n", "\r", "\t"))
    return breaks


def is_byte_level(tokenizer: "Tokenizer") -> bool:
    """Whether a tokenizer's letters are bytes, of which every text is made."""
    plan = json.loads(tokenizer.to_str())
    return plan["pre_tokenizer"] is not None and "ByteLevel" in _kinds(plan["pre_tokenizer"], plan["decoder"])


def _kinds(*parts: Any) -> set[str]:
    """Types of a tokenizer's parts, those within others too."""
    found: set[str] = set()
    for part in parts:
        if isinstance(part, dict):
            found |= {str(part.get("type"))} | _kinds(*part.values())
        elif isinstance(part, list):
            found |= _kinds(*part)
    return found


def _byte_letters() -> dict[str, int]:
    """The byte that each letter of a byte-level vocabulary stands for: printable ones for themselves."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


def _spelled(token: str, letters: dict[str, int] | None) -> str:
    """The text that a token stands for, with U+FFFD where it begins with a part of a character."""
    if letters is not None and all(letter in letters for letter in token):
        return bytes(letters[letter] for letter in token).decode("utf-8", errors="replace")
    if found := _BYTE_TOKEN.fullmatch(token):
        return bytes([int(found[1], 16)]).decode("utf-8", errors="replace")
    return token.replace("▁", " ")


def _begins(text: str) -> bool:
    if not text or text[0] == "\ufffd":
        return False
    category = unicodedata.category(text[0])
    return category[0] not in "LNM" or (category[0] != "M" and _UNSPACED.match(text) is not None)
