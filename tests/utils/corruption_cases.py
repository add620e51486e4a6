"""Rows and texts that the tests of corruptions share."""

from dataclasses import dataclass

import numpy as np

from lm_objectives.corruptions.random import derive_seed, row_keys
from lm_objectives.corruptions.windows import position_ids_from
from lm_objectives.views import Rows, Vocabulary
from utils.ragged import pad_rows

PAD, BOS, EOS, MASK = range(4)
VOCABULARY = Vocabulary(
    size=100,
    pad=PAD,
    bos=BOS,
    eos=EOS,
    mask=MASK,
    special=(PAD, BOS, EOS, MASK),
    starts_word=np.arange(100) % 3 > 0,  # 6, 9, 12, … go on with a word
)


@dataclass(frozen=True, eq=False)
class ToyText:
    """A `Text` in memory."""

    tokens: np.ndarray
    sentences: np.ndarray
    paragraphs: np.ndarray
    documents: np.ndarray


def toy_text(documents: list[list[list[int]]], separator: int = 99) -> ToyText:
    """A text from documents of paragraphs of sentences' lengths; a sentence's token is its place plus 1,000."""
    tokens, sentences, paragraphs, starts = [], [], [], [0]
    for document in documents:
        tokens.append(BOS)
        for number, paragraph in enumerate(document):
            tokens += [separator] if number else []
            paragraphs.append(len(sentences))
            for length in paragraph:
                sentences.append((len(tokens), len(tokens) + length))
                tokens += range(1000 + len(tokens), 1000 + len(tokens) + length)
        tokens.append(EOS)
        starts.append(len(tokens))
    paragraphs.append(len(sentences))
    arrays = np.array(tokens), np.array(sentences).reshape(-1, 2), np.array(paragraphs), np.array(starts)
    return ToyText(*arrays)


def keys(count: int, first: int = 0) -> np.ndarray:
    """Keys of rows `first` to `first + count`."""
    return row_keys(derive_seed("test"), np.arange(first, first + count))


def rows_of(*texts: list[int], window: int | None = None) -> Rows:
    """Rows of the token lists, padded."""
    ids, lengths = pad_rows([np.array(text) for text in texts], window or max(map(len, texts)), PAD)
    return Rows(keys(len(texts)), ids, lengths)


def random_rows(count: int, time: int, seed: int = 0) -> Rows:
    """Rows of different lengths from bos to eos, with ordinary tokens and a mask token here and there between."""
    generator = np.random.default_rng(seed)
    texts = [
        [BOS, *generator.integers(3, VOCABULARY.size, length - 2).tolist(), EOS]
        for length in generator.integers(time // 2, time + 1, count)
    ]
    return rows_of(*texts, window=time)


def packed_rows(count: int, time: int, seed: int = 0) -> Rows:
    """Full rows of parts of several documents, each from bos to eos but the first and the last of a row."""
    generator = np.random.default_rng(seed)
    ids = generator.integers(4, VOCABULARY.size, (count, time))
    begins = generator.random((count, time)) < 0.1
    begins[:, 0] = False
    ids[begins] = BOS
    ids[:, :-1][begins[:, 1:]] = EOS
    begins[:, 0] = True
    return Rows(keys(count), ids, np.full(count, time), position_ids_from(begins))
