"""The token cache: a corpus, split, tokenized and memory-mapped."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lm_objectives.corruptions.base import Corruption
from lm_objectives.data.tokenizer import load_tokenizer, read_tokenizer_files
from lm_objectives.errors import InputError, expect
from lm_objectives.views import Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPLITS = ("training", "validation")
PAIRS = "pairs"
"""Folder, below a split's, of the same documents with each sentence encoded alone."""


@dataclass(frozen=True, eq=False)
class TokenText:
    """The `views.Text` of one split, memory-mapped; pickled as its folder's path, never as its content.

    Attributes:
        corpora: where each corpus starts in `tokens`, and where the last one stops, `(corpora + 1,)`.
        pairs: the same documents with each sentence encoded alone, where an objective cuts pairs.
    """

    folder: Path
    tokens: np.ndarray
    sentences: np.ndarray
    paragraphs: np.ndarray
    documents: np.ndarray
    corpora: np.ndarray
    pairs: "TokenText | None" = None

    def stream(self, corruption: Corruption) -> "TokenText":
        """The stream of tokens that a corruption reads.

        Raises:
            InputError: where it is not there.
        """
        if not corruption.reads_sentence_pairs:
            return self
        if self.pairs is None:
            raise InputError(
                f"expected a text with sentences encoded alone for {type(corruption).__name__}, found one without: "
                "prepare it with pairs"
            )
        return self.pairs

    @staticmethod
    def open(folder: str | Path) -> "TokenText":
        """The text whose arrays lie in `folder`.

        Raises:
            InputError: when one is missing or not whole.
        """
        arrays = ("tokens", "sentences", "paragraphs", "documents", "corpora")
        folder = Path(folder)
        with _whole(folder.parent):
            found = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in arrays}
            pairs = TokenText.open(folder / PAIRS) if (folder / PAIRS).is_dir() else None
            return TokenText(folder, **found, pairs=pairs)

    def __reduce__(self) -> tuple[Any, ...]:
        return TokenText.open, (self.folder,)


@dataclass(frozen=True)
class CorpusStatistics:
    """Counts of a corpus's text and tokens.

    Attributes:
        words: between white space.
        characters: of the texts.
        training_bytes, validation_bytes: of the texts of each split, in UTF-8.
        unspaced: letters of scripts that put no spaces between words.
        unknown: tokens that stand for what the tokenizer does not know.
        empty: documents without text, which were left out.
        without_tokens: documents of which the tokenizer made nothing, which were left out.
        trained_on: share of the training text that the tokenizer was trained on, in (0, 1]; 0 for a loaded one.
        seconds: that it took, from what an interrupted preparation had left.
    """

    words: int
    characters: int
    training_bytes: int
    validation_bytes: int
    unspaced: int
    unknown: int
    empty: int
    without_tokens: int
    trained_on: float
    seconds: float


@dataclass(frozen=True, eq=False)
class TokenCache:
    """A prepared corpus.

    Attributes:
        folder: where it lies.
        training, validation: tokens of the training documents, and of those held out.
        vocabulary: ids of the tokenizer.
        statistics: what was counted while it was made.
        identity: hash of all documents in their order, wherever they lie.
        tokenizer_files: text of the tokenizer's files by name, which checkpoints hold.
    """

    folder: Path
    training: TokenText
    validation: TokenText
    vocabulary: Vocabulary
    statistics: "CorpusStatistics"
    identity: str
    tokenizer_files: dict[str, str]

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerFast":
        """The tokenizer that made the tokens, loaded when first asked for."""
        return load_tokenizer(str(self.folder / "tokenizer"))

    def bits_per_byte(self, nats: float) -> float:
        """Bits per byte of the held-out text, in UTF-8.

        Args:
            nats: the mean over the text's tokens but bos, which stands in no text.
        """
        tokens = len(self.validation.tokens) - (len(self.validation.documents) - 1)
        return nats / math.log(2) * tokens / self.statistics.validation_bytes

    def __reduce__(self) -> tuple[Any, ...]:
        return open_cache, (self.folder,)


def open_cache(path: str | Path) -> TokenCache:
    """The cache that `prepare` made at `path`.

    Raises:
        InputError: when there is none, or one that is not whole or of another version.
    """
    folder = Path(path)
    expect((folder / "meta.json").is_file(), "a token cache", f"none at {folder}", "make it with prepare")
    with _whole(folder):
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        for name, size in meta["sizes"].items():
            if (folder / name).stat().st_size != size:
                raise ValueError(f"{name} has {(folder / name).stat().st_size:,} bytes of {size:,}")
        words = {name: np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("starts_word", "breaks_line")}
        vocabulary = Vocabulary.from_dict(meta["vocabulary"], **words)
        statistics, identity = CorpusStatistics(**meta["statistics"]), str(meta["identity"])
        files = read_tokenizer_files(folder / "tokenizer")
    training, validation = (TokenText.open(folder / split) for split in ("training", "validation"))
    return TokenCache(folder, training, validation, vocabulary, statistics, identity, files)


@contextmanager
def _whole(folder: Path) -> Iterator[None]:
    """Turn errors of files that are not as they were written into one line."""
    try:
        yield
    except InputError:  # of a folder within
        raise
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"expected a whole token cache of this version, found a file missing, cut off or of another version in "
            f"{folder} ({' '.join(str(error).split())}): remove the folder, and give the same command to make it anew"
        ) from error
