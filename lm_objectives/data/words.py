"""Where words begin, in a tokenizer's vocabulary and in a text."""

import json
import re
import unicodedata
from collections.abc import Callable
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

_LONG_WORD = re.compile(r"[^\W_]{64,}")  # hardly another one is the same, as with phrases


def training_cost(text: str) -> int:
    """Memory that a text takes in a tokenizer's training, which keeps every different word, in English characters.

    Where there are no spaces, a word is a whole phrase, and nearly every phrase is another: measured, a million Chinese
    characters took as much memory as 60 million English ones. So it is with words of 64 letters and digits or more.
    """
    long = sum(len(word) - unspaced(word) for word in _LONG_WORD.findall(text))
    return len(text) + (_UNSPACED_COST - 1) * (unspaced(text) + long)


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
    spell = _speller(tokenizer)
    starts = np.zeros(size, dtype=bool)
    for token, number in tokenizer.get_vocab(with_added_tokens=True).items():
        if number in special or kind == "WordLevel":
            starts[number] = True
        elif kind == "WordPiece":
            starts[number] = not token.startswith(prefix) or _begins(token.removeprefix(prefix))
        else:
            starts[number] = _begins(spell(token))
    return starts


def breaks_line(tokenizer: "Tokenizer", size: int) -> np.ndarray:
    """Whether each token ends in a line break or a tab, after which a word begins without a space, `(vocab,)`."""
    spell = _speller(tokenizer)
    breaks = np.zeros(size, dtype=bool)
    for token, number in tokenizer.get_vocab(with_added_tokens=True).items():
        breaks[number] = spell(token).endswith(("\n", "\r", "\t"))
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


def _speller(tokenizer: "Tokenizer") -> Callable[[str], str]:
    """A function from a token to its text, with U+FFFD where it begins with a part of a character."""
    from tokenizers import decoders

    sentence_piece = decoders.Sequence([decoders.ByteFallback(), decoders.Replace("▁", " ")])
    decoder = decoders.ByteLevel() if is_byte_level(tokenizer) else sentence_piece
    return lambda token: decoder.decode([token])


def _begins(text: str) -> bool:
    if not text or text[0] == "\ufffd":
        return False
    category = unicodedata.category(text[0])
    return category[0] not in "LNM" or (category[0] != "M" and _UNSPACED.match(text) is not None)
