"""Documents into one stream of tokens, with the places of their sentences."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lm_objectives.corruption.base import Vocabulary
from lm_objectives.data.growing import GrowingArray
from lm_objectives.data.sentences import split_document

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PARAGRAPH_BREAK = "\n\n"

_SENTENCES_AT_ONCE = 16_384
_LARGEST_UINT16 = 2**16


@dataclass(frozen=True)
class Layout:
    """One document's tokens and, within them, what `corruption.base.Text` holds of the whole corpus."""

    tokens: list[int]
    sentences: list[tuple[int, int]]
    paragraphs: list[int]


def lay_out(paragraphs: list[list[list[int]]], vocabulary: Vocabulary, separator: list[int]) -> Layout:
    """One document as a stream of tokens: bos, sentences with a separator between paragraphs, eos.

        paragraphs  [[[5, 6], [7]], [[8]]], separator [9]
        tokens      bos 5 6 7 9 8 eos
        sentences   (1, 3) (3, 4) (5, 6)
        paragraphs  0 2

    Sentences without tokens, and paragraphs and documents without sentences, are left out.
    """
    tokens = [vocabulary.bos]
    sentences: list[tuple[int, int]] = []
    starts: list[int] = []
    for paragraph in paragraphs:
        filled = [sentence for sentence in paragraph if sentence]
        if not filled:
            continue
        if starts:
            tokens += separator
        starts.append(len(sentences))
        for sentence in filled:
            sentences.append((len(tokens), len(tokens) + len(sentence)))
            tokens += sentence
    return Layout([*tokens, vocabulary.eos], sentences, starts) if sentences else Layout([], [], [])


def training_pieces(documents: Iterable[str], language: str) -> Iterator[str]:
    """What a tokenizer is trained on: sentences with one leading space, and the breaks between paragraphs."""
    for document in documents:
        for number, paragraph in enumerate(split_document(document, language)):
            if number:
                yield PARAGRAPH_BREAK
            for sentence in paragraph:
                yield " " + sentence


def write_text(
    documents: Iterable[str],
    language: str,
    tokenizer: "PreTrainedTokenizerFast",
    vocabulary: Vocabulary,
    folder: Path,
) -> np.ndarray:
    """Encode documents into the four arrays of `corruption.base.Text`, a bounded number of sentences at a time.

    Every sentence is encoded by itself after one space, so that nothing marks a paragraph's start. What looks like a
    special token in the text is encoded as the text that it is.

    Args:
        documents: texts, in the order of the stream.
        language: as in `split_document`.
        tokenizer: as `make_tokenizer` gives it.
        vocabulary: the same tokenizer's ids.
        folder: gets `tokens.npy` (uint16 where the vocabulary allows), `sentences.npy`, `paragraphs.npy` and
            `documents.npy` (int64).

    Returns:
        How often each token comes in the stream, `(vocab,)`.
    """
    lead = _leading(tokenizer)
    (separator,) = _encode(tokenizer, [PARAGRAPH_BREAK])
    counts = np.zeros(vocabulary.size, dtype=np.int64)
    offset = np.dtype(np.int64)
    narrow = np.dtype(np.uint16 if vocabulary.size <= _LARGEST_UINT16 else np.uint32)
    folder.mkdir(parents=True)
    with ExitStack() as files:
        tokens = files.enter_context(GrowingArray(folder / "tokens.npy", narrow))
        sentences = files.enter_context(GrowingArray(folder / "sentences.npy", offset, (2,)))
        paragraphs = files.enter_context(GrowingArray(folder / "paragraphs.npy", offset))
        starts = files.enter_context(GrowingArray(folder / "documents.npy", offset))
        for batch in _batches(documents, language):
            encoded = iter(_encode(tokenizer, [lead + s for document in batch for p in document for s in p]))
            for document in batch:
                layout = lay_out([[next(encoded) for _ in p] for p in document], vocabulary, separator)
                if not layout.tokens:
                    continue
                starts.append([tokens.length])
                paragraphs.append(np.array(layout.paragraphs) + sentences.length)
                sentences.append(np.array(layout.sentences) + tokens.length)
                tokens.append(layout.tokens)
                counts += np.bincount(layout.tokens, minlength=vocabulary.size)
        starts.append([tokens.length])
        paragraphs.append([sentences.length])
    np.save(folder / "corpora.npy", np.array([0, tokens.length]))
    return counts


def _batches(documents: Iterable[str], language: str) -> Iterator[list[list[list[str]]]]:
    batch: list[list[list[str]]] = []
    sentences = 0
    for document in documents:
        batch.append(split_document(document, language))
        sentences += sum(map(len, batch[-1]))
        if sentences >= _SENTENCES_AT_ONCE:
            yield batch
            batch, sentences = [], 0
    yield batch


def _encode(tokenizer: "PreTrainedTokenizerFast", texts: list[str]) -> list[list[int]]:
    if not texts:
        return []
    return tokenizer(
        texts, add_special_tokens=False, split_special_tokens=True, return_attention_mask=False, verbose=False
    )["input_ids"]


def _leading(tokenizer: "PreTrainedTokenizerFast") -> str:
    """One space, or nothing where the tokenizer itself begins each text with one, as Llama's does."""
    first = tokenizer.convert_ids_to_tokens(_encode(tokenizer, ["x"])[0])[0]
    return "" if first.startswith("▁") else " "
