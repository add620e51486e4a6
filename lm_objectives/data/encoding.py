"""Documents into a stream of tokens, with the places of their sentences."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lm_objectives.corruption.base import Vocabulary
from lm_objectives.data.sentences import split_document
from lm_objectives.data.words import unspaced

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PARAGRAPH_BREAK = "\n\n"

_SENTENCES_AT_ONCE = 1024  # what the tokenizer says of each is many times as large as its ids


class Part(NamedTuple):
    """A document, or a part of one, to be encoded.

    Attributes:
        text: whole paragraphs.
        begins, ends: whether it is the first part of its document, and the last.
    """

    text: str
    begins: bool = True
    ends: bool = True


@dataclass
class Layout:
    """Tokens of documents, the arrays of `corruption.base.Text` without their last bounds, and what was counted.

    Attributes:
        tokens, sentences, paragraphs, documents: as there, counted from the layout's own start.
        words: between white space.
        characters: of the texts.
        unspaced: letters of scripts that put no spaces between words.
        without_tokens: documents in which the tokenizer found nothing, and which are left out.
    """

    tokens: list[int] = field(default_factory=list)
    sentences: list[tuple[int, int]] = field(default_factory=list)
    paragraphs: list[int] = field(default_factory=list)
    documents: list[int] = field(default_factory=list)
    words: int = 0
    characters: int = 0
    unspaced: int = 0
    without_tokens: int = 0

    def arrays(self, vocabulary_size: int) -> dict[str, np.ndarray]:
        """The arrays by name: tokens as narrow as the vocabulary allows, offsets in int64."""
        return {
            "tokens": np.array(self.tokens, dtype=token_dtype(vocabulary_size)),
            "sentences": np.array(self.sentences, dtype=np.int64).reshape(-1, 2),
            "paragraphs": np.array(self.paragraphs, dtype=np.int64),
            "documents": np.array(self.documents, dtype=np.int64),
        }


def token_dtype(vocabulary_size: int) -> np.dtype:
    """The narrowest type that holds every id of a vocabulary."""
    return np.dtype(np.uint16 if vocabulary_size <= 2**16 else np.uint32)


def lay_out(
    layout: Layout,
    paragraphs: Sequence[Sequence[Sequence[int]]],
    vocabulary: Vocabulary,
    separator: list[int],
    begins: bool = True,
    ends: bool = True,
) -> None:
    """Add one document to a layout: bos, sentences with a separator between paragraphs, eos.

        paragraphs  [[[5, 6], [7]], [[8]]], separator [9]
        tokens      bos 5 6 7 9 8 eos
        sentences   (1, 3) (3, 4) (5, 6)
        paragraphs  0 2

    Sentences without tokens, and paragraphs and documents without sentences, are left out. A document's further parts
    lead their paragraphs in by a separator too; only the first has bos, and only the last eos.
    """
    filled = [kept for paragraph in paragraphs if (kept := [sentence for sentence in paragraph if sentence])]
    if begins and ends and not filled:
        layout.without_tokens += 1
        return
    tokens = layout.tokens
    if begins:
        layout.documents.append(len(tokens))
        tokens.append(vocabulary.bos)
    for number, paragraph in enumerate(filled):
        if number or not begins:
            tokens += separator
        layout.paragraphs.append(len(layout.sentences))
        for sentence in paragraph:
            layout.sentences.append((len(tokens), len(tokens) + len(sentence)))
            tokens += sentence
    if ends:
        tokens.append(vocabulary.eos)


def training_pieces(texts: Iterable[str], language: str) -> Iterator[str]:
    """What a tokenizer is trained on: sentences with one leading space, and the breaks between paragraphs."""
    for text in texts:
        for number, paragraph in enumerate(split_document(text, language)):
            if number:
                yield PARAGRAPH_BREAK
            for sentence in paragraph:
                yield " " + sentence


class Encoder:
    """Makes documents into tokens; may be used by several threads at once.

    Every sentence is encoded by itself after one space, so that nothing marks a paragraph's start. What looks like a
    special token in the text is encoded as the text that it is.

    Args:
        tokenizer: copied, so that its own settings stay.
        vocabulary: the same tokenizer's ids.
        language: as in `split_document`.
    """

    def __init__(self, tokenizer: "Tokenizer", vocabulary: Vocabulary, language: str) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._vocabulary, self._language = vocabulary, language
        # No second space where the tokenizer itself begins each text with one, as Llama's does.
        self._lead = "" if _first_word(self._tokenizer, "x").startswith("▁") else " "
        self._separator = next(self._encode([PARAGRAPH_BREAK]))

    def __call__(self, parts: Iterable[Part]) -> Layout:
        """The layout of documents, or of parts of them, in their order."""
        layout = Layout()
        for part in parts:
            paragraphs = split_document(part.text, self._language)
            encoded = self._encode([self._lead + sentence for paragraph in paragraphs for sentence in paragraph])
            ids = [list(islice(encoded, len(paragraph))) for paragraph in paragraphs]
            lay_out(layout, ids, self._vocabulary, self._separator, part.begins, part.ends)
            layout.words += len(part.text.split())
            layout.characters += len(part.text)
            layout.unspaced += unspaced(part.text)
        return layout

    def _encode(self, sentences: list[str]) -> Iterator[list[int]]:
        for at in range(0, len(sentences), _SENTENCES_AT_ONCE):
            several = sentences[at : at + _SENTENCES_AT_ONCE]
            try:
                encodings = self._tokenizer.encode_batch_fast(several, add_special_tokens=False)
            except Exception as error:  # the library raises nothing narrower
                raise ValueError(
                    f"expected a tokenizer with a token for words that it does not know, found none ({error}); give "
                    "it an unk_token, or choose another tokenizer"
                ) from error
            for encoding in encodings:
                yield encoding.ids


def _first_word(tokenizer: "Tokenizer", text: str) -> str:
    """What a tokenizer makes the first word of a text into before it looks for tokens, which may know none of it."""
    if tokenizer.normalizer is not None:
        text = tokenizer.normalizer.normalize_str(text)
    words = [(text, None)] if tokenizer.pre_tokenizer is None else tokenizer.pre_tokenizer.pre_tokenize_str(text)
    return next((word for word, _ in words), "")
