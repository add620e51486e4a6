"""Encode documents into streams of tokens, with the places of their sentences."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, groupby, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from lm_objectives.data.cutting import cut_text
from lm_objectives.data.preparation.documents import DocumentPiece
from lm_objectives.data.preparation.sentences import (
    Place,
    Sentences,
    find_sentences,
    locate_sentences,
    sentences_at,
    starts_paragraph,
    token_offsets,
)
from lm_objectives.data.tokenizer import unknown_token
from lm_objectives.data.words import is_byte_level, unspaced
from lm_objectives.errors import InputError
from lm_objectives.views import Vocabulary

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

_LONGEST = 2**16  # characters of a text, or of a sentence alone, that is encoded in one piece

_AT_ONCE = 2**16  # characters of texts that are encoded together: what is said of their tokens is many times as large


@dataclass
class TokenArrays:
    """Tokens of documents, as the arrays of `views.Text` without their last bounds.

    Attributes:
        tokens, sentences, paragraphs, documents: as there, counted from the own start; arrays one after another.
        length, sentence_count: how many there are so far.
    """

    tokens: list[np.ndarray] = field(default_factory=list)
    sentences: list[np.ndarray] = field(default_factory=list)
    paragraphs: list[np.ndarray] = field(default_factory=list)
    documents: list[int] = field(default_factory=list)
    length: int = 0
    sentence_count: int = 0

    def add(
        self,
        tokens: np.ndarray,
        sentences: np.ndarray,
        paragraphs: np.ndarray,
        part: DocumentPiece,
        vocabulary: Vocabulary,
    ) -> None:
        """Add a part of a document: bos where it begins, its tokens, eos where it ends.

            tokens 5 6 9 8, sentences (0, 2) (3, 4), paragraphs 0 1
            tokens bos 5 6 9 8 eos, sentences (1, 3) (4, 5), paragraphs 0 1

        Args:
            tokens: `(tokens,)`.
            sentences: where each starts and stops in `tokens`, `(sentences, 2)`.
            paragraphs: number of the first sentence of each paragraph, `(paragraphs,)`.
            part: which of its document it is.
            vocabulary: has bos and eos.
        """
        if part.begins:
            self.documents.append(self.length)
        self.paragraphs.append(paragraphs + self.sentence_count)
        self.sentences.append(sentences + self.length + part.begins)
        self.sentence_count += len(sentences)
        bos, eos = [vocabulary.bos] * part.begins, [vocabulary.eos] * part.ends
        self.tokens.append(np.concatenate([bos, tokens, eos], dtype=np.uint32, casting="unsafe"))
        self.length += len(tokens) + part.begins + part.ends

    def arrays(self, vocabulary_size: int) -> dict[str, np.ndarray]:
        """The arrays by name: tokens as narrow as the vocabulary allows, offsets in int64."""
        tokens = np.concatenate([np.empty(0, np.uint32), *self.tokens])
        return {
            "tokens": tokens.astype(np.uint16 if vocabulary_size <= 2**16 else np.uint32),
            "sentences": np.concatenate([np.empty((0, 2), np.int64), *self.sentences]),
            "paragraphs": np.concatenate([np.empty(0, np.int64), *self.paragraphs]),
            "documents": np.array(self.documents, dtype=np.int64),
        }


@dataclass
class EncodedDocuments:
    """Tokens and counts of encoded documents.

    Attributes:
        text: their tokens.
        pairs: the tokens of their sentences, each encoded alone; `None` where they are not wanted.
        counts: `words` between white space, `characters` and `bytes` of the texts, in UTF-8, letters of scripts that
            put no spaces between words (`unspaced`), tokens that stand for what the tokenizer does not know
            (`unknown`), and documents of which the tokenizer makes nothing, which are left out (`without_tokens`).
    """

    text: TokenArrays = field(default_factory=TokenArrays)
    pairs: TokenArrays | None = None
    counts: Counter[str] = field(default_factory=Counter)


class Encoder:
    """Makes documents into tokens; may be used by several threads at once.

    A document is encoded as it stands, so that decoding gives it back. Its sentences are places in that stream. What
    looks like a special token in the text is encoded as the text that it is.

    Args:
        tokenizer: copied, so that its own settings stay.
        vocabulary: the same tokenizer's ids.
        language, sentences: as in `find_sentences`.
        pairs: whether sentences are encoded alone too, each as the beginning of a text, so that neither white space
            nor a capital's token shows what stood in front of it.
    """

    def __init__(
        self,
        tokenizer: "Tokenizer",
        vocabulary: Vocabulary,
        language: str,
        pairs: bool = False,
        sentences: Sentences = "language",
    ) -> None:
        self._first, self._further = plain_tokenizer(tokenizer), plain_tokenizer(tokenizer, leads=False)
        self._vocabulary, self._language, self._pairs, self._sentences = vocabulary, language, pairs, sentences
        unknown = unknown_token(tokenizer)
        self._sizes = _sizes_in_bytes(tokenizer)
        self._unknown = None if unknown is None else tokenizer.token_to_id(unknown)
        self._separator = _ids(self._further.encode("\n\n", add_special_tokens=False))

    def __call__(self, parts: Iterable[DocumentPiece]) -> EncodedDocuments:
        """Encode documents, or parts of them, in their order."""
        made = EncodedDocuments(pairs=TokenArrays() if self._pairs else None)
        for part in parts:
            paragraphs = find_sentences(part.text, self._language, self._sentences)
            tokens, starts, stops = self._tokens(part)
            if part.begins and part.ends and not len(tokens):
                made.counts["without_tokens"] += 1
                continue
            words, unknown = len(part.text.split()), int(np.count_nonzero(tokens == self._unknown))
            made.counts.update(words=words, characters=len(part.text), bytes=len(part.text.encode()))
            made.counts.update(unspaced=unspaced(part.text), unknown=unknown)
            goes_on = not part.begins and bool(paragraphs) and not starts_paragraph(part.text, paragraphs[0][0][0])
            sentences, firsts = locate_sentences(starts, stops, paragraphs)
            made.text.add(tokens, sentences, firsts[goes_on:], part, self._vocabulary)
            if made.pairs is not None:
                texts, divided = sentences_at(part.text, paragraphs), not part.begins and not goes_on
                alone, sentences, firsts = self._encode_alone(texts, divided)
                made.pairs.add(alone, sentences, firsts[goes_on:], part, self._vocabulary)
        return made

    def _tokens(self, part: DocumentPiece) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tokens of a part, and the characters where each starts and stops, `(tokens,)` each."""
        texts = [*cut_text(part.text, _LONGEST)]
        bounds = np.cumsum([0, *map(len, texts)])
        places = self._sizes is None
        first = encode_texts(self._first, texts[: part.begins], places)
        encodings = chain(first, encode_texts(self._further, texts[part.begins :], places))
        ids: list[np.ndarray] = []
        offsets: list[np.ndarray] = []
        for encoding, start in zip(encodings, bounds, strict=False):  # each is many times as large as its arrays
            ids.append(np.array(encoding.ids, dtype=np.int64))
            if places:
                offsets.append(np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2) + start)
        tokens = np.concatenate(ids)
        if self._sizes is not None:
            return tokens, *token_offsets(self._sizes[tokens], part.text)
        starts, stops = np.concatenate(offsets).T
        return tokens, starts, stops

    def _encode_alone(self, paragraphs: list[list[str]], divided: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tokens of sentences, each encoded alone, with a separator between paragraphs.

        Args:
            paragraphs: sentences of each.
            divided: whether a separator stands in front of the first paragraph too.
        """
        sentences = self._ids_alone(sentence for paragraph in paragraphs for sentence in paragraph)
        tokens = [np.empty(0, dtype=np.uint32)]
        length = 0
        places: list[Place] = []
        firsts: list[int] = []
        for paragraph in paragraphs:
            filled = [ids for ids in islice(sentences, len(paragraph)) if len(ids)]
            if filled:
                firsts.append(len(places))
                if places or divided:
                    tokens.append(self._separator)
                    length += len(self._separator)
            for ids in filled:
                places.append((length, length + len(ids)))
                tokens.append(ids)
                length += len(ids)
        places_array = np.array(places, dtype=np.int64).reshape(-1, 2)
        return np.concatenate(tokens), places_array, np.array(firsts, dtype=np.int64)

    def _ids_alone(self, sentences: Iterable[str]) -> Iterator[np.ndarray]:
        """The tokens of each sentence, an array: a list of a long one's is many times as large."""
        for long, together in groupby(sentences, lambda sentence: len(sentence) > _LONGEST):
            if not long:
                yield from (_ids(encoding) for encoding in encode_texts(self._first, together))
                continue
            for sentence in together:
                first, *rest = cut_text(sentence, _LONGEST)
                encodings = chain(encode_texts(self._first, [first]), encode_texts(self._further, rest))
                yield np.concatenate([*map(_ids, encodings)])


def _ids(encoding: "Encoding") -> np.ndarray:
    return np.array(encoding.ids, dtype=np.uint32)


def encode_texts(tokenizer: "Tokenizer", texts: Iterable[str], places: bool = False) -> Iterator["Encoding"]:
    """Encode texts without special tokens; with the places of their tokens, or in less time."""
    together: list[str] = []
    size = 0
    for text in texts:
        together.append(text)
        size += len(text)
        if size >= _AT_ONCE:
            yield from _encode(tokenizer, together, places)
            together, size = [], 0
    yield from _encode(tokenizer, together, places)


def _encode(tokenizer: "Tokenizer", texts: list[str], places: bool) -> list["Encoding"]:
    encode = tokenizer.encode_batch if places else tokenizer.encode_batch_fast
    try:
        return encode(texts, add_special_tokens=False)
    except Exception as error:  # the library raises nothing narrower
        raise InputError(
            f"expected a tokenizer with a token for words that it does not know, found none ({error}): give "
            "it an unk_token, or choose another tokenizer"
        ) from error


def _sizes_in_bytes(tokenizer: "Tokenizer") -> np.ndarray | None:
    """Bytes that each token stands for, `(vocab,)`; `None` where the bytes of all tokens are not those of the text."""
    if not is_byte_level(tokenizer) or tokenizer.normalizer is not None or unknown_token(tokenizer) is not None:
        return None
    if any(not token.special for token in tokenizer.get_added_tokens_decoder().values()):  # which strip white space
        return None
    tokens = tokenizer.get_vocab(with_added_tokens=False)
    sizes = np.zeros(max(tokens.values(), default=0) + 1, dtype=np.int64)
    sizes[list(tokens.values())] = [len(token) for token in tokens]
    return sizes


def plain_tokenizer(tokenizer: "Tokenizer", leads: bool = True) -> "Tokenizer":
    """A copy that takes special tokens in a text for text, and cuts and pads nothing.

    Args:
        leads: whether it puts a space in front of a text, where the tokenizer does.
    """
    from tokenizers import Tokenizer

    plan = json.loads(tokenizer.to_str())
    if not leads:
        plan = plan | {name: _without_lead(plan[name]) for name in ("normalizer", "pre_tokenizer")}
    copy = Tokenizer.from_str(json.dumps(plan))
    copy.encode_special_tokens = True
    copy.no_truncation()
    copy.no_padding()
    return copy


def _without_lead(plan: Any) -> Any:
    """A normalizer or pre-tokenizer, as JSON describes it, without what it puts in front of a text."""
    if isinstance(plan, list):
        return [kept for item in plan if (kept := _without_lead(item)) is not None]
    if not isinstance(plan, dict):
        return plan
    if plan.get("type") == "Prepend":
        return None
    own: dict[str, Any] = {"Metaspace": {"prepend_scheme": "never"}, "ByteLevel": {"add_prefix_space": False}}
    return {key: _without_lead(value) for key, value in plan.items()} | own.get(plan.get("type", ""), {})
