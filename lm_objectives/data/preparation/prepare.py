"""From a corpus to its token cache: read, split, train the tokenizer, encode; once, and in bounded memory."""

import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_objectives.data.cache import PAIRS, SPLITS, CorpusStatistics, TokenText
from lm_objectives.data.preparation.arrays import write_array
from lm_objectives.data.preparation.chunks import add_counts, chunk_documents, encode_chunks, join_chunks
from lm_objectives.data.preparation.corpus import find_sources
from lm_objectives.data.preparation.documents import DocumentPiece
from lm_objectives.data.preparation.encode import Encoder
from lm_objectives.data.preparation.fingerprint import fingerprint, identify_files, identify_tokenizer, versions
from lm_objectives.data.preparation.progress import progress_bar
from lm_objectives.data.preparation.readers import Documents
from lm_objectives.data.preparation.sentences import check_language
from lm_objectives.data.preparation.split import (
    CorpusScan,
    check_validation_share,
    count_training_paragraphs,
    held_out_threshold,
    label_held_out,
    read_keys,
    scan_corpus,
    split_document,
    write_keys,
)
from lm_objectives.data.preparation.text_files import TxtDocuments
from lm_objectives.data.preparation.workdir import workdir
from lm_objectives.data.tokenizer import check_tokenizer, load_tokenizer, make_tokenizer, save_tokenizer, vocabulary_of
from lm_objectives.data.words import training_cost
from lm_objectives.errors import InputError
from lm_objectives.files import atomic_write

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# Raise it when the same settings come to give other files.
_FORMAT = 7


_TRAINED_ON = 2**26  # English characters that a tokenizer's training may remember, some 150 MB


_log = logging.getLogger("lm_objectives")


def prepare(
    folder: str | Path,
    corpus: str | Sequence[str] | None = None,
    *,
    validation_share: float,
    text_field: str = "text",
    language: str = "en",
    tokenizer: int | str = 8192,
    split_seed: int = 0,
    txt_documents: TxtDocuments = "file",
    tokens: tuple[str, ...] = (),
    pairs: bool = False,
) -> Path:
    """Make the token cache of a corpus, or find the one made before.

    Its name is the hash of the corpus and the settings, and that of the versions of what reads them. It is made in a
    folder beside, `tokens-….partial`, by one process at a time, and renamed when it is whole; a call after an
    interruption goes on from the documents that were encoded. Memory does not grow with the corpus.

    Args:
        folder: where caches lie; made when missing.
        corpus: paths of the text, as in `find_sources`; `None` is the shipped corpus.
        validation_share: part of the documents that is held out, in (0, 1), about: each by its own text alone.
        text_field: column of the text.
        language: code of the text's language, for its sentences.
        tokenizer: tokens in a vocabulary to train on the training documents, at least 260, or a tokenizer's path.
        split_seed: chooses which are held out.
        txt_documents: whether a `.txt` file is one document, or each of its blocks between blank lines is one.
        tokens: special tokens that corruptions ask for.
        pairs: whether an objective cuts pairs, for which each sentence is encoded alone as well.

    Returns:
        The cache's folder, for `open_cache`.

    Raises:
        ValueError: when a setting is out of range, the corpus cannot be used, or the folder cannot be written.
    """
    sources = find_sources(corpus)
    tokens = tuple(sorted(set(tokens)))
    settings = {
        "text_field": text_field,
        "language": check_language(language),
        "tokenizer": check_tokenizer(tokenizer, tokens),
        "validation_share": check_validation_share(validation_share),
        "split_seed": split_seed,
        "txt_documents": txt_documents,
        "tokens": tokens,
        "pairs": pairs,
    }
    identity = fingerprint(
        corpora=[[[s.kind, s.name if s.kind == "hub" else len(s.files)] for s in corpus] for corpus in sources],
        files=identify_files([file for corpus in sources for source in corpus for file in source.files]),
        **{**settings, "tokenizer": identify_tokenizer(tokenizer)},
    )
    makers = {"format": str(_FORMAT), **versions("tokenizers", "sentencex")}
    target = Path(folder).expanduser().resolve() / f"tokens-{identity}-{fingerprint(**makers)}"
    if not (target / "meta.json").is_file():
        with workdir(target, lambda work: (work / "survey.json").is_file()) as work:
            if not (target / "meta.json").is_file():
                _say_what_is_older(target, identity, makers)
                documents = Documents(sources, text_field, txt_documents)
                meta = {"corpus": corpus, **settings, "makers": makers}
                settled = language, tokenizer, validation_share, split_seed, tokens, pairs
                _Preparation(work, documents, *settled).run(meta)
                os.rename(work / "cache", target)
    return target


@dataclass(frozen=True)
class _Preparation:
    """The stages, each of which finds what it did before in `work`."""

    work: Path
    documents: Documents
    language: str
    tokenizer: int | str
    validation_share: float
    split_seed: int
    tokens: tuple[str, ...]
    pairs: bool

    def run(self, meta: dict[str, Any]) -> None:
        """Make `work/cache`."""
        started = time.monotonic()
        survey = self._survey()
        made = self._tokenizer(survey)
        vocabulary = vocabulary_of(made, self.tokens)
        encoder = Encoder(made.backend_tokenizer, vocabulary, self.language, self.pairs)
        (self.work / "chunks").mkdir(exist_ok=True)
        with progress_bar("tokens", "documents", survey.documents) as told:
            chunks = chunk_documents(label_held_out(self._pieces(survey), self._held_out(survey)))
            encode_chunks(chunks, encoder, vocabulary.size, self.work / "chunks", told)
        cache = self.work / "cache"
        shutil.rmtree(cache, ignore_errors=True)
        shutil.copytree(self.work / "tokenizer", cache / "tokenizer")
        files = sorted((self.work / "chunks").glob("*.npz"))
        counts = {split: add_counts(files, split) for split in SPLITS}
        for split, found in counts.items():
            for stream in (split, *([f"{split}/{PAIRS}"] if self.pairs else [])):
                join_chunks(files, len(self.documents.corpora), vocabulary.size, cache / stream, stream)
            if not len(TokenText.open(cache / split).tokens):
                raise InputError(
                    f"expected {split} documents that the tokenizer makes tokens of, found none among its "
                    f"{found['without_tokens']:,}: add text, or choose a tokenizer whose normalizer leaves it"
                )
        assert vocabulary.starts_word is not None and vocabulary.breaks_line is not None
        write_array(cache / "starts_word.npy", vocabulary.starts_word)
        write_array(cache / "breaks_line.npy", vocabulary.breaks_line)
        summed = ("words", "characters", "unspaced", "unknown", "without_tokens")
        census = CorpusStatistics(
            **{name: sum(split[name] for split in counts.values()) for name in summed},
            **{f"{split}_bytes": found["bytes"] for split, found in counts.items()},
            empty=survey.empty,
            trained_on=self._trained_on(survey),
            seconds=round(time.monotonic() - started, 1),
        )
        sizes = {str(file.relative_to(cache)): file.stat().st_size for file in sorted(cache.rglob("*.*"))}
        meta = {**meta, "vocabulary": vocabulary.to_dict(), "census": asdict(census), "identity": survey.identity}
        (cache / "meta.json").write_text(json.dumps({**meta, "sizes": sizes}, indent=2) + "\n", encoding="utf-8")

    def _survey(self) -> CorpusScan:
        """Read all documents once, and decide which are held out."""
        path, keys = self.work / "survey.json", self.work / "keys"
        if path.is_file():
            return CorpusScan(**json.loads(path.read_text(encoding="utf-8")))
        with progress_bar("reading", "documents") as told:
            documents, cost, identity = scan_corpus(_counted(write_keys(self.documents, self.split_seed, keys), told))
        if not documents:
            names = ", ".join(dict.fromkeys(source.name for corpus in self.documents.corpora for source in corpus))
            raise InputError(f"expected documents with text, found only empty ones in {names}; check the corpus")
        below = cut = 0
        if documents > 1:
            below = held_out_threshold(keys, self.validation_share)
        else:
            cut = count_training_paragraphs(self.documents, self.validation_share)
        survey = CorpusScan(documents, self.documents.empty, cost, below, identity, cut)
        with atomic_write(path) as file:
            file.write(json.dumps(asdict(survey)).encode())
        return survey

    def _tokenizer(self, survey: CorpusScan) -> "PreTrainedTokenizerFast":
        """The tokenizer, trained on training documents alone, or loaded."""
        path, beside = self.work / "tokenizer", self.work / "tokenizer.partial"
        if path.is_dir():
            return load_tokenizer(str(path))
        with progress_bar("tokenizer", "characters") as told:
            pieces = label_held_out(self._pieces(survey), self._held_out(survey))
            texts = _thinned((piece.text for held_out, piece in pieces if not held_out), self._trained_on(survey), told)
            made = make_tokenizer(self.tokenizer, texts, self.tokens)
        save_tokenizer(made, beside)
        os.rename(beside, path)
        return made

    def _trained_on(self, survey: CorpusScan) -> float:
        return min(1.0, _TRAINED_ON / survey.cost) if isinstance(self.tokenizer, int) else 0.0

    def _pieces(self, survey: CorpusScan) -> Iterable[DocumentPiece]:
        return split_document(self.documents, survey.cut) if survey.cut else self.documents

    def _held_out(self, survey: CorpusScan) -> Iterator[bool]:
        return iter((False, True)) if survey.cut else (key < survey.below for key in read_keys(self.work / "keys"))


def _counted(pieces: Iterable[DocumentPiece], told: Callable[[int], None]) -> Iterator[DocumentPiece]:
    for piece in pieces:
        told(piece.begins)
        yield piece


def _thinned(texts: Iterable[str], share: float, told: Callable[[int], None]) -> Iterator[str]:
    """A share of the texts, evenly spread over them."""
    seen = used = 0
    for text in texts:
        cost = training_cost(text)
        seen += cost
        if used < share * seen:
            used += cost
            told(len(text))
            yield text


def _say_what_is_older(target: Path, identity: str, makers: dict[str, str]) -> None:
    """Log it where the tokens of this corpus were made before, by other versions."""
    for path in sorted(target.parent.glob(f"tokens-{identity}-*/meta.json")):
        try:
            before = json.loads(path.read_text(encoding="utf-8"))["makers"]
        except (OSError, ValueError, KeyError):
            continue  # it is not whole, and nobody reads it
        old, new = (", ".join(f"{name} {version}" for name, version in made.items()) for made in (before, makers))
        _log.info("%s was made by %s: making it anew with %s", path.parent.name, old, new)
