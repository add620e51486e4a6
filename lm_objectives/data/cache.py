"""The token cache: a corpus split, tokenized and memory-mapped, made once."""

import json
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lm_objectives.corruption.base import Vocabulary
from lm_objectives.data.corpus import find_sources, read_documents
from lm_objectives.data.encoding import training_pieces, write_text
from lm_objectives.data.fingerprint import fingerprint, identify_files, identify_tokenizer, versions
from lm_objectives.data.sentences import checked_language
from lm_objectives.data.split import checked_share, hold_out
from lm_objectives.data.tokenizer import checked_tokenizer, load_tokenizer, make_tokenizer, unigram_nats, vocabulary_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# Raise it when the same settings come to give other files.
_FORMAT = 2

_log = logging.getLogger("lm_objectives")


@dataclass(frozen=True, eq=False)
class TokenText:
    """The `corruption.base.Text` of one split, memory-mapped; pickled as its folder's path, never as its content."""

    folder: Path
    tokens: np.ndarray
    sentences: np.ndarray
    paragraphs: np.ndarray
    documents: np.ndarray
    corpora: np.ndarray

    @staticmethod
    def open(folder: str | Path) -> "TokenText":
        """The text whose arrays lie in `folder`."""
        arrays = ("tokens", "sentences", "paragraphs", "documents", "corpora")
        folder = Path(folder)
        return TokenText(
            folder, *(np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in arrays)
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return TokenText.open, (self.folder,)


@dataclass(frozen=True, eq=False)
class TokenCache:
    """A prepared corpus.

    Attributes:
        folder: where it lies.
        training, validation: tokens of the documents that train, and of those held out.
        vocabulary: ids of the tokenizer, with the unigram nats of the training documents.
    """

    folder: Path
    training: TokenText
    validation: TokenText
    vocabulary: Vocabulary

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerFast":
        """The tokenizer that made the tokens, loaded when first asked for."""
        return load_tokenizer(str(self.folder / "tokenizer"))

    def __reduce__(self) -> tuple[Any, ...]:
        return open_cache, (self.folder,)


def open_cache(path: str | Path) -> TokenCache:
    """The cache that `prepare` made at `path`.

    Raises:
        ValueError: when there is none.
    """
    folder = Path(path)
    if not (folder / "meta.json").is_file():
        raise ValueError(f"expected a token cache, found none at {folder}; make it with prepare")
    ids = json.loads((folder / "meta.json").read_text(encoding="utf-8"))["vocabulary"]
    counts = np.load(folder / "unigram_counts.npy", allow_pickle=False)
    return TokenCache(
        folder=folder,
        training=TokenText.open(folder / "training"),
        validation=TokenText.open(folder / "validation"),
        vocabulary=Vocabulary.from_ids(ids, unigram=unigram_nats(counts)),
    )


def prepare(
    folder: str | Path,
    corpus: str | list[str] | None = None,
    text_field: str = "text",
    language: str = "en",
    tokenizer: int | str = 8192,
    validation_share: float = 0.05,
    seed: int = 0,
) -> Path:
    """Make the token cache of a corpus, or find the one made before.

    Its name is the hash of the corpus, the settings and the versions of what reads them. It is written beside and
    renamed when it is whole, so that a run that dies leaves no half of one, and of processes that make it at the same
    time the first one wins and the others take what it made.

    Args:
        folder: where caches lie; made when missing.
        corpus: paths of the text, as in `find_sources`; `None` is the shipped corpus.
        text_field: column of the text.
        language: code of the text's language, for its sentences.
        tokenizer: tokens in a vocabulary to train on the training documents, at least 260, or a tokenizer's path.
        validation_share: part of the documents that is held out, in (0, 1).
        seed: chooses which are held out.

    Returns:
        The cache's folder, for `open_cache`.

    Raises:
        ValueError: when a setting is out of range, the corpus cannot be used, or the folder cannot be written.
    """
    sources = find_sources(corpus)
    settings = {
        "text_field": text_field,
        "language": checked_language(language),
        "tokenizer": checked_tokenizer(tokenizer),
        "validation_share": checked_share(validation_share),
        "seed": seed,
    }
    name = fingerprint(
        format=_FORMAT,
        corpus=[[s.kind, s.name if s.kind == "hub" else identify_files(s.files)] for s in sources],
        **{**settings, "tokenizer": identify_tokenizer(tokenizer)},
        versions=versions("tokenizers", "sentencex"),
    )
    target = Path(folder).expanduser().resolve() / f"tokens-{name}"
    if (target / "meta.json").is_file():
        return target
    _log.info("preparing tokens: %s", target)
    with _scratch(target.parent) as scratch:
        documents, training, held_out = hold_out(read_documents(corpus, text_field, scratch), validation_share, seed)
        made = make_tokenizer(tokenizer, training_pieces(compress(documents, training), language))
        cache = scratch / "cache"
        made.save_pretrained(cache / "tokenizer")
        vocabulary = vocabulary_of(made, None)
        counts = write_text(compress(documents, training), language, made, vocabulary, cache / "training")
        others = write_text(compress(documents, held_out), language, made, vocabulary, cache / "validation")
        if not counts.any() or not others.any():
            raise ValueError("expected tokens in training and held-out documents, found none in one; add text")
        np.save(cache / "unigram_counts.npy", counts)
        meta = {"format": _FORMAT, "corpus": corpus, **settings, "vocabulary": vocabulary.ids()}
        (cache / "meta.json").write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
        try:
            os.rename(cache, target)
        except OSError:
            # Another process was quicker; anything else is an error.
            if not (target / "meta.json").is_file():
                raise
    return target


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A temporary folder within `folder`, which is made, and is taken away again if it stays empty."""
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            temporary = tempfile.TemporaryDirectory(prefix=".preparing-", dir=folder)
        except OSError as error:
            raise ValueError(
                f"expected a folder that can be written, found {folder} ({error.strerror}); choose another cache folder"
            ) from error
        with temporary as scratch:
            yield Path(scratch)
    except BaseException:
        for parent in missing:
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()
        raise
