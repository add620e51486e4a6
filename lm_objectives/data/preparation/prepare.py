"""Make a token cache of a corpus: read, split, train the tokenizer, encode; once, and in bounded memory."""

import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_objectives.data.cache import PAIRS, SPLITS, CorpusStatistics, TokenText
from lm_objectives.data.preparation.chunks import add_counts, chunk_documents, encode_chunks, join_chunks, write_array
from lm_objectives.data.preparation.corpus import Format, check_format, find_corpora
from lm_objectives.data.preparation.documents import DocumentPiece
from lm_objectives.data.preparation.encode import Encoder
from lm_objectives.data.preparation.few_documents import cut_few
from lm_objectives.data.preparation.fingerprint import fingerprint, identify_files, identify_tokenizer
from lm_objectives.data.preparation.notices import tell
from lm_objectives.data.preparation.plain_text import DocumentRule, check_documents
from lm_objectives.data.preparation.progress import progress_bar
from lm_objectives.data.preparation.readers import Documents
from lm_objectives.data.preparation.scan import CorpusScan, scan_corpora
from lm_objectives.data.preparation.sentences import Sentences, check_language, check_sentences
from lm_objectives.data.preparation.split import check_validation_share, label_held_out, read_keys
from lm_objectives.data.preparation.workdir import workdir
from lm_objectives.data.tokenizer import (
    end_of_text,
    load_tokenizer,
    make_tokenizer,
    save_tokenizer,
    vocabulary_of,
)
from lm_objectives.data.tokenizer_folders import check_tokenizer
from lm_objectives.data.words import training_cost
from lm_objectives.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# Raise it when the same settings come to give other files.
_FORMAT = 11

_TRAINED_ON = 2**26  # English characters that a tokenizer's training may read, as `training_cost` counts them

_REMEMBERED = 2**22  # bytes of different words, as `DistinctWords` counts them; the library takes some 50 for each


_log = logging.getLogger("lm_objectives")


def prepare(
    folder: str | Path,
    corpus: str | Sequence[str] | None = None,
    *,
    validation_share: float,
    text_field: str = "text",
    language: str = "en",
    tokenizer: int | str = 8192,
    add_tokens: Sequence[str] = (),
    split_seed: int = 0,
    format: Format | None = None,
    documents: str = "file",
    sentences: Sentences = "language",
    validation_corpus: str | Sequence[str] | None = None,
    tokens: tuple[str, ...] = (),
    pairs: bool = False,
) -> Path:
    """Make the token cache of a corpus, or find the one made before.

    Its name is the hash of the corpus and the settings, and that of the versions of what reads them. It is made in a
    folder next to it, `tokens-….partial`, by one process at a time, and renamed when it is whole; a call after an
    interruption goes on from the documents that were encoded. Memory does not grow with the corpus.

    Args:
        folder: where caches lie; made when missing.
        corpus: paths of the text, as in `find_corpora`; `None` is the shipped corpus.
        validation_share: part of the documents that is held out, in (0, 1), about: each by its own text alone; of a
            corpus with few documents, part of each.
        text_field: column of the text.
        language: code of the text's language, for its sentences.
        tokenizer: tokens in a vocabulary to train on the training documents, at least 260, or a tokenizer's path.
        add_tokens: tokens of text that are added to a loaded tokenizer.
        split_seed: chooses which are held out.
        format: how to read files, whatever they are called; `None` goes by their suffixes.
        documents: what one document of plain text is, as in `DocumentRule`.
        sentences: whether sentences are found by the language's rules, or are lines.
        validation_corpus: paths of text that is held out as a whole, in place of a part of the corpus.
        tokens: special tokens that corruptions ask for.
        pairs: whether an objective cuts pairs, for which each sentence is encoded alone as well.

    Returns:
        The cache's folder, for `open_cache`.

    Raises:
        InputError: when a setting is out of range, the corpus cannot be used, or the folder cannot be written.
    """
    corpora = find_corpora(corpus, format)
    held_out_from = len(corpora)
    if validation_corpus is not None:
        corpora += find_corpora(validation_corpus, format)
    tell(notice for found in corpora for notice in found.notices)
    tokens = tuple(sorted(set(tokens)))
    settings = {
        "text_field": text_field,
        "language": check_language(language),
        "tokenizer": check_tokenizer(tokenizer, tokens, add_tokens),
        "add_tokens": [*add_tokens],
        "validation_share": check_validation_share(validation_share),
        "split_seed": split_seed,
        "format": check_format(format),
        "documents": check_documents(documents),
        "sentences": check_sentences(sentences),
        "tokens": tokens,
        "pairs": pairs,
    }
    identity = fingerprint(
        corpora=[found.described() for found in corpora],
        held_out_from=held_out_from,
        files=identify_files([file for found in corpora for source in found.sources for file in source.files]),
        **{**settings, "tokenizer": identify_tokenizer(tokenizer)},
    )
    makers = {"format": str(_FORMAT), **{package: version(package) for package in ("tokenizers", "sentencex")}}
    target = Path(folder).expanduser().resolve() / f"tokens-{identity}-{fingerprint(**makers)}"
    if not (target / "meta.json").is_file():
        with workdir(target, lambda work: (work / "scan.json").is_file()) as work:
            if not (target / "meta.json").is_file():
                _log_older(target, identity, makers)
                plain = any(source.kind == "text" for found in corpora for source in found.sources)
                rule = DocumentRule(documents, end_of_text(tokenizer) if plain else ())
                read = Documents(corpora, text_field, rule)
                meta = {"corpus": corpus, "validation_corpus": validation_corpus, **settings, "makers": makers}
                _Preparation(work, read, held_out_from, settings).run(meta)
                os.rename(work / "cache", target)
    tell(_notices(target / "meta.json"))
    return target


def _notices(meta: Path) -> list[str]:
    """What was told when a cache was made; nothing of one that is not whole, which `open_cache` says."""
    try:
        found: list[str] = json.loads(meta.read_text(encoding="utf-8"))["notices"]
    except (OSError, ValueError, KeyError):
        return []
    return found


@dataclass(frozen=True)
class _Preparation:
    """The phases, each of which finds in `work` what it did before.

    Attributes:
        held_out_from: number of the first corpus that is held out as a whole; all before it are split.
    """

    work: Path
    documents: Documents
    held_out_from: int
    settings: Mapping[str, Any]

    def run(self, meta: dict[str, Any]) -> None:
        """Make `work/cache`."""
        started = time.monotonic()
        scan, pairs = self._scan(), self.settings["pairs"]
        tell(scan.notices)
        tokenizer = self._tokenizer(scan)
        vocabulary = vocabulary_of(tokenizer, self.settings["tokens"], self.settings["add_tokens"])
        language, sentences = self.settings["language"], self.settings["sentences"]
        encoder = Encoder(tokenizer.backend_tokenizer, vocabulary, language, pairs, sentences)
        (self.work / "chunks").mkdir(exist_ok=True)
        with progress_bar("tokens", "documents", scan.documents) as advance:
            encode_chunks(chunk_documents(self._pieces(scan)), encoder, vocabulary.size, self.work / "chunks", advance)
        cache = self.work / "cache"
        shutil.rmtree(cache, ignore_errors=True)
        shutil.copytree(self.work / "tokenizer", cache / "tokenizer")
        files = sorted((self.work / "chunks").glob("*.npz"))
        counts = {split: add_counts(files, split) for split in SPLITS}
        for split, found in counts.items():
            for stream in (split, *([f"{split}/{PAIRS}"] if pairs else [])):
                join_chunks(files, self._corpora_of(split), cache / stream, stream)
            if not len(TokenText.open(cache / split).tokens):
                raise InputError(
                    f"expected {split} documents that the tokenizer makes tokens of, found none among its "
                    f"{found['without_tokens']:,}: add text, or choose a tokenizer whose normalizer leaves it"
                )
        for name in ("starts_word", "breaks_line"):
            write_array(cache / f"{name}.npy", [getattr(vocabulary, name)])
        summed = ("words", "characters", "unspaced", "unknown", "without_tokens")
        statistics = CorpusStatistics(
            **{name: sum(split[name] for split in counts.values()) for name in summed},
            **{f"{split}_bytes": found["bytes"] for split, found in counts.items()},
            empty=scan.empty,
            trained_on=self._trained_on(scan),
            seconds=round(time.monotonic() - started, 1),
        )
        sizes = {str(file.relative_to(cache)): file.stat().st_size for file in sorted(cache.rglob("*.*"))}
        meta |= {"vocabulary": vocabulary.to_dict(), "statistics": asdict(statistics), "identity": scan.identity}
        meta |= {"notices": scan.notices}
        (cache / "meta.json").write_text(json.dumps({**meta, "sizes": sizes}, indent=2) + "\n", encoding="utf-8")

    def _corpora_of(self, split: str) -> range:
        """Numbers of the corpora that a split has text of."""
        corpora = len(self.documents.corpora)
        own = self.held_out_from < corpora and split == SPLITS[1]
        return range(self.held_out_from, corpora) if own else range(self.held_out_from)

    def _scan(self) -> CorpusScan:
        """Read all documents once, and decide which are held out."""
        path, keys, share = self.work / "scan.json", self.work / "keys", self.settings["validation_share"]
        if path.is_file():
            return CorpusScan.read(path)
        with progress_bar("reading", "documents") as advance:
            scan = scan_corpora(self.documents, self.held_out_from, share, self.settings["split_seed"], keys, advance)
        scan.write(path)
        return scan

    def _tokenizer(self, scan: CorpusScan) -> "PreTrainedTokenizerFast":
        """The tokenizer, trained on training documents alone, or loaded."""
        path, partial = self.work / "tokenizer", self.work / "tokenizer.partial"
        if path.is_dir():
            return load_tokenizer(str(path))
        with progress_bar("tokenizer", "characters") as advance:
            texts = (piece.text for held_out, piece in self._pieces(scan) if not held_out)
            sample = _sample(texts, self._trained_on(scan), advance)
            wanted = (self.settings["tokens"], self.settings["add_tokens"])
            tokenizer = make_tokenizer(self.settings["tokenizer"], sample, *wanted)
        save_tokenizer(tokenizer, partial)
        os.rename(partial, path)
        return tokenizer

    def _trained_on(self, scan: CorpusScan) -> float:
        share = min(1.0, _TRAINED_ON / scan.cost, _REMEMBERED / max(scan.distinct, 1))
        return share if isinstance(self.settings["tokenizer"], int) else 0.0

    def _pieces(self, scan: CorpusScan) -> Iterator[tuple[bool, DocumentPiece]]:
        """All documents, each piece with whether it is held out."""
        keys = enumerate(read_keys(self.work / "keys"))
        sides = (number >= scan.training or bool(key < scan.below) for number, key in keys)
        return cut_few(label_held_out(self.documents, sides), scan.cuts)


def _sample(texts: Iterable[str], share: float, advance: Callable[[int], None]) -> Iterator[str]:
    """A share of the texts, evenly spread over them."""
    seen = used = 0
    for text in texts:
        cost = training_cost(text)
        seen += cost
        if used < share * seen:
            used += cost
            advance(len(text))
            yield text


def _log_older(target: Path, identity: str, makers: dict[str, str]) -> None:
    """Log where the tokens of this corpus were made before by other versions."""
    for path in sorted(target.parent.glob(f"tokens-{identity}-*/meta.json")):
        try:
            before = json.loads(path.read_text(encoding="utf-8"))["makers"]
        except (OSError, ValueError, KeyError):
            continue  # not whole, and not read
        old, new = (", ".join(map(" ".join, made.items())) for made in (before, makers))
        _log.info("%s was made by %s: making it anew with %s", path.parent.name, old, new)
